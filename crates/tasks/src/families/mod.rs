//! One file, or folder, per family.

pub mod multi_mnist;
pub mod omniglot;
mod quadratic;
mod sinusoid;
mod strokes;

pub use quadratic::Quadratic;
pub use sinusoid::Sinusoid;
pub use strokes::Strokes;
