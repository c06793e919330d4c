//! Numbers with a shape. The element type is a run-time tag, so no signature outside the kernels is
//! generic over it.

use std::fmt;

/// Extents of a tensor, outermost first; `[]` is a scalar.
pub type Shape = Vec<usize>;

/// The most axes a value of a graph can have.
pub(crate) const MAX_AXES: usize = 8;

/// Number of elements of a shape.
pub fn volume(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Element type of a tensor or of a compiled program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE single precision: training.
    F32,
    /// IEEE double precision: checks.
    F64,
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dtype::F32 => "f32",
            Dtype::F64 => "f64",
        })
    }
}

#[derive(Clone, PartialEq)]
enum Data {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// A dense row-major array.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    shape: Shape,
    data: Data,
}

impl Tensor {
    /// Single-precision tensor from row-major values; panics if the count does not fit the shape.
    #[track_caller]
    pub fn from_f32(shape: &[usize], data: Vec<f32>) -> Tensor {
        assert_eq!(volume(shape), data.len(), "{} values for shape {shape:?}", data.len());
        Tensor { shape: shape.to_vec(), data: Data::F32(data) }
    }

    /// Double-precision tensor from row-major values; panics if the count does not fit the shape.
    #[track_caller]
    pub fn from_f64(shape: &[usize], data: Vec<f64>) -> Tensor {
        assert_eq!(volume(shape), data.len(), "{} values for shape {shape:?}", data.len());
        Tensor { shape: shape.to_vec(), data: Data::F64(data) }
    }

    /// A scalar of the given type.
    pub fn scalar(dtype: Dtype, value: f64) -> Tensor {
        Tensor::full(dtype, &[], value)
    }

    /// All elements equal to `value`.
    pub fn full(dtype: Dtype, shape: &[usize], value: f64) -> Tensor {
        match dtype {
            Dtype::F32 => Tensor::from_f32(shape, vec![value as f32; volume(shape)]),
            Dtype::F64 => Tensor::from_f64(shape, vec![value; volume(shape)]),
        }
    }

    /// All elements zero.
    pub fn zeros(dtype: Dtype, shape: &[usize]) -> Tensor {
        Tensor::full(dtype, shape, 0.0)
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        volume(&self.shape)
    }

    /// True when some extent is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element type.
    pub fn dtype(&self) -> Dtype {
        match self.data {
            Data::F32(_) => Dtype::F32,
            Data::F64(_) => Dtype::F64,
        }
    }

    /// The values, if single precision; panics otherwise.
    #[track_caller]
    pub fn as_f32(&self) -> &[f32] {
        match &self.data {
            Data::F32(v) => v,
            Data::F64(_) => panic!("tensor {:?} holds f64, not f32", self.shape),
        }
    }

    /// The values, if double precision; panics otherwise.
    #[track_caller]
    pub fn as_f64(&self) -> &[f64] {
        match &self.data {
            Data::F64(v) => v,
            Data::F32(_) => panic!("tensor {:?} holds f32, not f64", self.shape),
        }
    }

    /// The values for writing, if single precision; panics otherwise.
    #[track_caller]
    pub fn as_f32_mut(&mut self) -> &mut [f32] {
        match &mut self.data {
            Data::F32(v) => v,
            Data::F64(_) => panic!("tensor {:?} holds f64, not f32", self.shape),
        }
    }

    /// The values for writing, if double precision; panics otherwise.
    #[track_caller]
    pub fn as_f64_mut(&mut self) -> &mut [f64] {
        match &mut self.data {
            Data::F64(v) => v,
            Data::F32(_) => panic!("tensor {:?} holds f32, not f64", self.shape),
        }
    }

    /// Element `i` in row-major order, widened.
    pub fn get(&self, i: usize) -> f64 {
        match &self.data {
            Data::F32(v) => v[i] as f64,
            Data::F64(v) => v[i],
        }
    }

    /// Overwrites element `i` in row-major order, rounding to the element type.
    pub fn set(&mut self, i: usize, value: f64) {
        match &mut self.data {
            Data::F32(v) => v[i] = value as f32,
            Data::F64(v) => v[i] = value,
        }
    }

    /// All values in row-major order, widened.
    pub fn iter(&self) -> impl Iterator<Item = f64> + '_ {
        (0..self.len()).map(|i| self.get(i))
    }

    /// Same values in another element type.
    pub fn cast(&self, dtype: Dtype) -> Tensor {
        if dtype == self.dtype() {
            return self.clone();
        }
        match dtype {
            Dtype::F32 => Tensor::from_f32(&self.shape, self.iter().map(|x| x as f32).collect()),
            Dtype::F64 => Tensor::from_f64(&self.shape, self.iter().collect()),
        }
    }

    /// Same values in another shape of the same volume; panics otherwise.
    #[track_caller]
    pub fn reshaped(mut self, shape: &[usize]) -> Tensor {
        assert_eq!(self.len(), volume(shape), "cannot reshape {:?} to {shape:?}", self.shape);
        self.shape = shape.to_vec();
        self
    }

    /// Axes in another order: `out.shape[i] = shape[order[i]]`.
    #[track_caller]
    pub fn permuted(&self, order: &[usize]) -> Tensor {
        assert_eq!(order.len(), self.shape.len(), "permutation {order:?} of {:?}", self.shape);
        let shape: Shape = order.iter().map(|&axis| self.shape[axis]).collect();
        let mut out = Tensor::zeros(self.dtype(), &shape);
        let strides = row_major_strides(&self.shape);
        let mut index = vec![0; shape.len()];
        for i in 0..self.len() {
            let source = index.iter().zip(order).map(|(&at, &axis)| at * strides[axis]).sum();
            out.set(i, self.get(source));
            advance(&mut index, &shape);
        }
        out
    }

    /// True when every element is finite.
    pub fn is_finite(&self) -> bool {
        match &self.data {
            Data::F32(v) => v.iter().all(|x| x.is_finite()),
            Data::F64(v) => v.iter().all(|x| x.is_finite()),
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head: Vec<f64> = self.iter().take(8).collect();
        let more = if self.len() > 8 { ", …" } else { "" };
        write!(f, "Tensor {}{:?} {head:?}{more}", self.dtype(), self.shape)
    }
}

/// Distance, in elements, between neighbours along each axis of a row-major array.
pub fn row_major_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// Steps a multi-index to the next element in row-major order, wrapping at the end.
pub(crate) fn advance(index: &mut [usize], shape: &[usize]) {
    for axis in (0..shape.len()).rev() {
        index[axis] += 1;
        if index[axis] < shape[axis] {
            return;
        }
        index[axis] = 0;
    }
}
