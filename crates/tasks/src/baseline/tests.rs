use innerloop_engine::Key;

use super::*;
use crate::Sizes;
use crate::{EpisodeSpec, Sinusoid};

/// Two classes on two axes, one five times as far out as the other.
struct Axes {
    /// How far out the queries are.
    scale: f32,
}

impl TaskFamily for Axes {
    fn name(&self) -> &str {
        "axes"
    }

    fn spec(&self, _split: Split) -> EpisodeSpec {
        EpisodeSpec { x: vec![2], target: Target::Classes(2), support: 2, query: 2 }
    }

    fn sample_into(&self, _split: Split, _key: Key, episode: &mut Episode) {
        episode.support_x.as_f32_mut().copy_from_slice(&[1.0, 0.0, 0.0, 5.0]);
        episode.query_x.as_f32_mut().copy_from_slice(&[self.scale, 0.1, 0.1, self.scale]);
        episode.support_y.as_f32_mut().copy_from_slice(&[0.0, 1.0]);
        episode.query_y.as_f32_mut().copy_from_slice(&[0.0, 1.0]);
    }

    fn describe(&self) -> String {
        "axes".into()
    }
}

fn mean(scale: f32, distance: Distance) -> f64 {
    let accuracies = nearest_mean(&Axes { scale }, Split::Test, 1, 3, distance).unwrap();
    assert_eq!(accuracies.len(), 3);
    accuracies.iter().sum::<f64>() / 3.0
}

#[test]
fn the_nearest_mean_is_chosen() {
    assert_eq!(mean(1.0, Distance::Cosine), 1.0);
    // (0.1, 1) is nearer to (1, 0) than to (0, 5), (0.1, 4) is not.
    assert_eq!(mean(1.0, Distance::Euclidean), 0.5);
    assert_eq!(mean(4.0, Distance::Euclidean), 1.0);
}

#[test]
fn values_have_no_classes() {
    let family = Sinusoid { sizes: Sizes::new(5, 5) };
    let error = nearest_mean(&family, Split::Test, 1, 3, Distance::Cosine).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    assert!(error.to_string().starts_with("sinusoid predicts values"), "{error}");
}
