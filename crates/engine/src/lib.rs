//! A graph in, numbers out.

mod key;
mod params;
mod tensor;

pub use key::Key;
pub use params::Params;
pub use tensor::{Dtype, Shape, Tensor, row_major_strides, volume};
