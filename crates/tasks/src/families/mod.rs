//! One file, or folder, per family.

pub mod cifar;
pub mod curves;
pub mod gallery;
pub mod mini_imagenet;
pub mod multi_mnist;
pub mod omniglot;
mod quadratic;
mod sine_line;
mod sinusoid;
mod strokes;

pub use quadratic::Quadratic;
pub use sine_line::SineLine;
pub use sinusoid::Sinusoid;
pub use strokes::Strokes;
