use std::collections::BTreeSet;

use super::*;
use crate::episode_key;

/// The points of a task, in order of x, and the x values of its support.
fn task(noise: f64, task: u64) -> (Vec<(f32, f32)>, Vec<f32>) {
    let sizes = Sizes { shots: 10, query: 40, train_shots: 3, train_query: 15 };
    let family = SineLine { sizes, noise };
    let mut episode = Episode::zeros(&family.spec(Split::Test));
    family.sample_into(Split::Test, episode_key(1, Split::Test, 0, task), &mut episode);
    let Episode { support_x, support_y, query_x, query_y } = &episode;
    let xs = support_x.as_f32().iter().chain(query_x.as_f32());
    let mut points: Vec<(f32, f32)> =
        xs.copied().zip(support_y.as_f32().iter().chain(query_y.as_f32()).copied()).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    (points, support_x.as_f32().to_vec())
}

#[test]
fn half_the_tasks_are_lines_and_all_points_differ() {
    let (mut lines, mut first) = (0, BTreeSet::new());
    for number in 0..400 {
        let (points, support) = task(0.0, number);
        assert!(points.windows(2).all(|pair| (pair[1].0 - pair[0].0 - 10.0 / 49.0).abs() < 1e-5));
        let slope = |i: usize| (points[i + 1].1 - points[i].1) / (points[i + 1].0 - points[i].0);
        let is_line = (0..49).all(|i| (slope(i) - slope(0)).abs() < 1e-3);
        lines += usize::from(is_line);
        let most = points.iter().map(|point| point.1.abs()).fold(0.0, f32::max);
        assert!(most <= if is_line { 18.0 } else { 5.0 }, "{most}");
        first.insert(support[0].to_bits());
    }
    // 200 expected, with standard deviation 10.
    assert!((150..=250).contains(&lines), "{lines}");
    assert!(first.len() > 40, "any point of the grid may come first");
}

#[test]
fn noise_has_its_standard_deviation() {
    let square = |number| {
        let ((clean, _), (noisy, _)) = (task(0.0, number), task(0.3, number));
        clean.iter().zip(&noisy).map(|(a, b)| f64::from(a.1 - b.1).powi(2)).sum::<f64>()
    };
    let deviation = ((0..200).map(square).sum::<f64>() / (200.0 * 50.0)).sqrt();
    assert!((deviation - 0.3).abs() < 0.01, "{deviation}");
}
