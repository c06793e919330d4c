//! Families of few-shot tasks.
//!
//! A [`TaskFamily`] turns a [`Key`](innerloop_engine::Key) into an [`Episode`]: a support set to adapt
//! on and a query set to judge the result by. Families made on the fly ([`Sinusoid`], [`Strokes`],
//! [`Quadratic`]) need no files; [`omniglot`] reads the published archives in place.
//!
//! | family | example | target | source |
//! | --- | --- | --- | --- |
//! | [`Sinusoid`] | `[1]` | `[1]` values | Finn, Abbeel, Levine 2017, arXiv 1703.03400, section 5.1 |
//! | [`SineLine`] | `[1]` | `[1]` values | SHOT's code: sine curves and lines with noise |
//! | [`curves::Curves`] | `[d_in]` | `[d_out]` values | a CSV file |
//! | [`Strokes`] | `[28, 28, 1]` | class labels | made here: random pen movements |
//! | [`ImageTasks`] | `[h, w, c]` | class labels | any [`ImageSet`], such as [`omniglot`], [`cifar`], [`multi_mnist`], [`gallery`] |
//! | [`Quadratic`] | no data | a matrix and a vector | made here, for tests with closed forms |
//!
//! Images are `[n, height, width, channels]` with values from 0 to 1, labels are whole numbers in `[n]`.
//!
//! ```
//! use innerloop_tasks::{Episode, FewShot, Split, Strokes, TaskFamily, episode_key};
//!
//! let family = Strokes { few_shot: FewShot::new(5, 1, 15) };
//! let mut episode = Episode::zeros(&family.spec(Split::Train));
//! family.sample_into(Split::Train, episode_key(1, Split::Train, 0, 0), &mut episode);
//! assert_eq!(episode.support_x.shape(), [5, 28, 28, 1]);
//! assert_eq!(episode.support_y.as_f32(), [0.0, 1.0, 2.0, 3.0, 4.0]);
//! ```

mod augment;
mod baseline;
mod cache;
mod classes;
mod dot;
mod episode;
mod error;
mod families;
mod files;
mod image_tasks;
mod joint;
mod pickle;
mod pickled_splits;
mod picture;
mod preview;
mod random;
mod resize;
mod scratch;
#[cfg(test)]
mod test_files;
mod views;

pub use augment::Augmentation;
pub use baseline::{Distance, nearest_mean};
pub use classes::{Class, ImageClasses, ImageSet, Shares, SplitLists};
pub use episode::{Episode, EpisodeSpec, FewShot, Sizes, Split, Target, TaskFamily, episode_key};
pub use error::{Error, ErrorKind};
pub use families::{Quadratic, SineLine, Sinusoid, Strokes};
pub use families::{cifar, curves, gallery, mini_imagenet, multi_mnist, omniglot};
pub use image_tasks::{ImageTasks, Rotations};
pub use joint::{Joint, TrainingClasses};
pub use picture::{Fit, Form};
pub use preview::{ContactSheet, contact_sheet};
pub use views::draw_view;

/// Asserts a failure of this kind whose message contains all these words, in order.
#[cfg(test)]
#[track_caller]
fn check_failure<T: std::fmt::Debug>(result: Result<T, Error>, kind: ErrorKind, words: &[&str]) {
    let error = result.unwrap_err();
    let message = error.to_string();
    assert_eq!(error.kind(), kind, "{message}");
    let mut rest = message.as_str();
    for word in words {
        let at = rest.find(word).unwrap_or_else(|| panic!("no {word:?}, in order, in: {message}"));
        rest = &rest[at + word.len()..];
    }
    assert!(!message.ends_with('.'), "{message}");
}
