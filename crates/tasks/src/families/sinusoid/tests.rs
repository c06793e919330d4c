use super::*;
use crate::episode_key;

/// Amplitude and phase of the curve through an episode's points, by least squares on
/// `y = a sin x + b cos x`, with `a = A cos φ` and `b = −A sin φ`; and the largest residual.
fn fit(episode: &Episode) -> (f64, f64, f64) {
    let pairs = |x: &Tensor, y: &Tensor| x.iter().zip(y.iter()).collect::<Vec<_>>();
    let mut points = pairs(&episode.support_x, &episode.support_y);
    points.extend(pairs(&episode.query_x, &episode.query_y));
    let sum = |f: &dyn Fn(f64, f64) -> f64| points.iter().map(|&(x, y)| f(x, y)).sum::<f64>();
    let (ss, cc) = (sum(&|x, _| x.sin().powi(2)), sum(&|x, _| x.cos().powi(2)));
    let (sc, sy) = (sum(&|x, _| x.sin() * x.cos()), sum(&|x, y| x.sin() * y));
    let cy = sum(&|x, y| x.cos() * y);
    let determinant = ss * cc - sc * sc;
    let (a, b) = ((sy * cc - cy * sc) / determinant, (cy * ss - sy * sc) / determinant);
    let residual = |&(x, y): &(f64, f64)| (y - a * x.sin() - b * x.cos()).abs();
    (a.hypot(b), (-b).atan2(a), points.iter().map(residual).fold(0.0, f64::max))
}

#[test]
fn support_and_query_lie_on_one_curve_of_the_published_range() {
    let family = Sinusoid { sizes: Sizes::new(10, 10) };
    let mut episode = Episode::zeros(&family.spec(Split::Train));
    let (n, mut amplitudes, mut phases, mut xs) = (2000, 0.0, 0.0, 0.0);
    for task in 0..n {
        family.sample_into(Split::Train, episode_key(1, Split::Train, 0, task), &mut episode);
        let (amplitude, phase, residual) = fit(&episode);
        assert!(residual <= 1e-4, "points off the curve by {residual}");
        assert!((0.0999..5.001).contains(&amplitude), "amplitude {amplitude}");
        assert!((-1e-3..PI + 1e-3).contains(&phase), "phase {phase}");
        assert!(episode.support_x.iter().all(|x| (-5.0..=5.0).contains(&x)));
        amplitudes += amplitude / n as f64;
        phases += phase / n as f64;
        xs += episode.query_x.iter().map(|x| x * x).sum::<f64>() / (10 * n) as f64;
    }
    // Means of uniform numbers, within four standard errors.
    assert!((amplitudes - 2.55).abs() <= 0.13, "{amplitudes}");
    assert!((phases - PI / 2.0).abs() <= 0.09, "{phases}");
    assert!((xs - 25.0 / 3.0).abs() <= 0.22, "{xs}");
}

#[test]
fn training_tasks_have_sizes_of_their_own() {
    let family = Sinusoid { sizes: Sizes { train_shots: 3, train_query: 4, ..Sizes::new(5, 7) } };
    let sizes = |split| (family.spec(split).support, family.spec(split).query);
    assert_eq!(sizes(Split::Train), (3, 4));
    assert_eq!((sizes(Split::Validation), sizes(Split::Test)), ((5, 7), (5, 7)));
}
