//! Safetensors files in and out.
//!
//! Tensors are read one at a time from the file, so loading peaks at the weights plus one tensor.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::{bf16, f16};
use safetensors::tensor::{Metadata, TensorView};
use safetensors::{Dtype, SafeTensorError};
use spry_core::ParamSet;
use spry_data::files::write_atomically;

use crate::{Error, Result};

/// Headers are JSON of a few kilobytes; the format's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// A safetensors file, open for reading.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    data_start: u64,
}

impl Checkpoint {
    /// Opens a file and checks its header and length.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], or [`Error::Checkpoint`] if the file is damaged or cut short.
    pub fn open(path: &Path) -> Result<Self> {
        let damaged = |reason: String| Error::Checkpoint { path: path.to_path_buf(), reason };
        let mut file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        let mut header_length = [0; 8];
        if length < 8 {
            return Err(damaged(format!("it has only {length} bytes")));
        }
        file.read_exact(&mut header_length).map_err(Error::io(path))?;
        let header_length = u64::from_le_bytes(header_length);
        if header_length > MAX_HEADER_BYTES.min(length - 8) {
            return Err(damaged(format!(
                "its header claims {header_length} bytes, the file has {length}; it is cut short, \
                 or of another format"
            )));
        }
        let mut header = vec![0; header_length as usize];
        file.read_exact(&mut header).map_err(Error::io(path))?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|error| damaged(format!("its header cannot be read: {error}")))?;
        let data_start = 8 + header_length;
        let expected = data_start + metadata.data_len() as u64;
        if expected != length {
            return Err(damaged(format!("it has {length} bytes, its header says {expected}")));
        }
        Ok(Self { path: path.to_path_buf(), file, metadata, data_start })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the tensors, in no particular order.
    pub fn names(&self) -> Vec<String> {
        self.metadata.tensors().into_keys().collect()
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.metadata.info(name).is_some()
    }

    /// Shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.metadata.info(name).map(|info| info.shape.as_slice())
    }

    /// A float tensor's values: as `f64` if they are stored so, else as `f32`.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownWeight`] if there is none, [`Error::DType`] if it is not a float tensor,
    /// [`Error::Io`] if the file cannot be read.
    pub fn read(&mut self, name: &str) -> Result<TensorData> {
        let (dtype, shape, bytes) = self.read_bytes(name)?;
        Ok(match dtype {
            Dtype::F64 => {
                let values = bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b));
                TensorData::new(values.collect::<Vec<f64>>(), shape)
            }
            Dtype::F32 => {
                let values = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
                TensorData::new(values.collect::<Vec<f32>>(), shape)
            }
            Dtype::F16 => {
                let values = bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32());
                TensorData::new(values.collect::<Vec<f32>>(), shape)
            }
            Dtype::BF16 => {
                let values = bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32());
                TensorData::new(values.collect::<Vec<f32>>(), shape)
            }
            other => {
                return Err(Error::DType { name: name.to_string(), got: format!("{other:?}") });
            }
        })
    }

    /// A tensor of 64-bit integers.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_integers(&mut self, name: &str) -> Result<Vec<i64>> {
        let (dtype, _, bytes) = self.read_bytes(name)?;
        if dtype != Dtype::I64 {
            return Err(Error::DType { name: name.to_string(), got: format!("{dtype:?}") });
        }
        Ok(bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
    }

    fn read_bytes(&mut self, name: &str) -> Result<(Dtype, Vec<usize>, Vec<u8>)> {
        let unknown = || Error::UnknownWeight { path: name.to_string() };
        let info = self.metadata.info(name).ok_or_else(unknown)?;
        let (start, end) = info.data_offsets;
        let (dtype, shape) = (info.dtype, info.shape.clone());
        let mut bytes = vec![0; end - start];
        self.file
            .seek(SeekFrom::Start(self.data_start + start as u64))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(Error::io(&self.path))?;
        Ok((dtype, shape, bytes))
    }
}

/// A tensor's values in a row, on a device and in a data type.
pub(crate) fn flat(values: TensorData, options: (&Device, DType)) -> Tensor<1> {
    let (bytes, shape, dtype) = values.into_parts();
    Tensor::from_data(TensorData::from_bytes(bytes, [shape.num_elements()], dtype), options)
}

/// A tensor's values in a row, as `f64`.
pub(crate) fn to_vec(values: TensorData) -> Vec<f64> {
    values.convert::<f64>().iter::<f64>().collect()
}

/// Writes parameters as `f32` to a safetensors file, under their paths. The file appears whole or
/// not at all.
///
/// # Errors
///
/// [`Error::Io`] or [`Error::Checkpoint`] if it cannot be written.
pub fn write(path: &Path, params: &ParamSet) -> Result<()> {
    let failed = |error: SafeTensorError| Error::Checkpoint {
        path: path.to_path_buf(),
        reason: error.to_string(),
    };
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = params
        .iter()
        .map(|(name, param)| {
            let bytes = param.to_vec().into_iter().flat_map(|v| (v as f32).to_le_bytes());
            (name.to_string(), param.shape().to_vec(), bytes.collect())
        })
        .collect();
    let views: Result<Vec<(&str, TensorView)>, SafeTensorError> = tensors
        .iter()
        .map(|(name, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?))
        })
        .collect();
    let format = HashMap::from([("format".to_string(), "pt".to_string())]);
    let bytes = safetensors::serialize(views.map_err(failed)?, Some(format)).map_err(failed)?;
    Ok(write_atomically(path, &bytes)?)
}
