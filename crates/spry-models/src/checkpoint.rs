//! Safetensors files in and out.
//!
//! A tensor's bytes are read straight into the values that become the weight, one tensor after the
//! other, so that loading a model peaks at its weights.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::{bf16, f16};
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensorError, View};
use serde::Deserialize;
use spry_core::{Param, ParamSet};
use spry_data::files::write_atomically_with;

use crate::{Error, Result};

/// Headers are JSON of a few kilobytes; the format's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Bytes that are read at a time; a multiple of every value's size.
const PART: usize = 1 << 20;

/// Name of the file with the weights of a model.
pub const MODEL: &str = "model.safetensors";

/// Name of the file that says where the weights of a model in several files are.
pub const MODEL_INDEX: &str = "model.safetensors.index.json";

/// Tensors of one safetensors file, or of several that an index lists; open for reading.
#[derive(Debug)]
pub struct Checkpoint {
    /// The file, or the index.
    path: PathBuf,
    files: Vec<TensorFile>,
    /// The file that each tensor is in.
    places: HashMap<String, usize>,
}

/// `model.safetensors.index.json`, as far as it is used.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Index {
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        serde_json::from_str(&text)
            .map_err(|error| Error::Index { path: path.to_path_buf(), reason: error.to_string() })
    }

    /// Names of the files, sorted.
    fn files(&self, path: &Path) -> Result<Vec<String>> {
        let mut names: Vec<String> = self.weight_map.values().cloned().collect();
        names.sort_unstable();
        names.dedup();
        let is_beside = |name: &&String| {
            let mut parts = Path::new(name).components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        };
        // Whoever wrote the index must not choose files elsewhere.
        match names.iter().find(|name| !is_beside(name)) {
            Some(name) => Err(Error::Index {
                path: path.to_path_buf(),
                reason: format!("`{name}` is not the name of a file beside it"),
            }),
            None => Ok(names),
        }
    }
}

/// Names of the files that an index lists, sorted; they are beside it.
///
/// # Errors
///
/// [`Error::Io`], or [`Error::Index`] if it is no index, or names files elsewhere.
pub fn files_of_index(path: &Path) -> Result<Vec<String>> {
    Index::read(path)?.files(path)
}

impl Checkpoint {
    /// Opens a safetensors file and checks its header and length.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], or [`Error::Checkpoint`] if the file is damaged or cut short.
    pub fn open(path: &Path) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let places = file.metadata.tensors().into_keys().map(|name| (name, 0)).collect();
        Ok(Self { path: path.to_path_buf(), files: vec![file], places })
    }

    /// Opens the weights in a model's folder: `model.safetensors`, or the files that
    /// `model.safetensors.index.json` lists.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), [`Error::Index`] if the index cannot be read, or does not list just
    /// what the files have, and [`Error::NotSafetensors`] for weights of another format.
    pub fn of_model(folder: &Path) -> Result<Self> {
        let (whole, index) = (folder.join(MODEL), folder.join(MODEL_INDEX));
        if whole.exists() {
            return Self::open(&whole);
        }
        if index.exists() {
            return Self::open_index(folder, &index);
        }
        let pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
        match pickled.into_iter().find(|name| folder.join(name).exists()) {
            Some(name) => Err(Error::NotSafetensors { path: folder.join(name) }),
            None => Self::open(&whole),
        }
    }

    fn open_index(folder: &Path, path: &Path) -> Result<Self> {
        let damaged = |reason: String| Error::Index { path: path.to_path_buf(), reason };
        let index = Index::read(path)?;
        let names = index.files(path)?;
        let open = |name: &String| TensorFile::open(&folder.join(name));
        let files: Vec<TensorFile> = names.iter().map(open).collect::<Result<_>>()?;
        let mut places = HashMap::new();
        for (tensor, name) in &index.weight_map {
            let place = names.binary_search(name).unwrap_or_default();
            if files[place].metadata.info(tensor).is_none() {
                return Err(damaged(format!("{name} lacks `{tensor}`, which it should have")));
            }
            places.insert(tensor.clone(), place);
        }
        for (file, name) in files.iter().zip(&names) {
            if let Some(tensor) = file.metadata.tensors().keys().find(|t| !places.contains_key(*t))
            {
                return Err(damaged(format!("it does not list `{tensor}`, which {name} has")));
            }
        }
        Ok(Self { path: path.to_path_buf(), files, places })
    }

    /// The file, or the index of several.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the tensors, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        let file = &self.files[*self.places.get(name)?];
        file.metadata.info(name).map(|info| info.shape.as_slice())
    }

    /// A float tensor's values: as `f64` if they are stored so, else as `f32`.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownWeight`] if there is none, [`Error::DType`] if it is not a float tensor,
    /// [`Error::Io`] if the file cannot be read.
    pub fn read(&self, name: &str) -> Result<TensorData> {
        let (file, info) = self.find(name)?;
        let shape = info.shape.clone();
        Ok(match info.dtype {
            Dtype::F64 => TensorData::new(file.values(info, f64::from_le_bytes)?, shape),
            Dtype::F32 => TensorData::new(file.values(info, f32::from_le_bytes)?, shape),
            Dtype::F16 => {
                TensorData::new(file.values(info, |b| f16::from_le_bytes(b).to_f32())?, shape)
            }
            Dtype::BF16 => {
                TensorData::new(file.values(info, |b| bf16::from_le_bytes(b).to_f32())?, shape)
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
    pub fn read_integers(&self, name: &str) -> Result<Vec<i64>> {
        let (file, info) = self.find(name)?;
        if info.dtype != Dtype::I64 {
            return Err(Error::DType { name: name.to_string(), got: format!("{:?}", info.dtype) });
        }
        file.values(info, i64::from_le_bytes)
    }

    fn find(&self, name: &str) -> Result<(&TensorFile, &TensorInfo)> {
        let unknown = || Error::UnknownWeight { path: name.to_string() };
        let file = &self.files[*self.places.get(name).ok_or_else(unknown)?];
        Ok((file, file.metadata.info(name).ok_or_else(unknown)?))
    }
}

/// One safetensors file.
#[derive(Debug)]
struct TensorFile {
    path: PathBuf,
    /// Locked because it has one place to read from.
    file: Mutex<File>,
    metadata: Metadata,
    data_start: u64,
}

impl TensorFile {
    fn open(path: &Path) -> Result<Self> {
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
        Ok(Self { path: path.to_path_buf(), file: Mutex::new(file), metadata, data_start })
    }

    /// A tensor's values, each made of `N` bytes; a part of the file at a time.
    fn values<const N: usize, T>(
        &self,
        info: &TensorInfo,
        value: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let (start, end) = info.data_offsets;
        let mut values = Vec::with_capacity((end - start) / N);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let place = SeekFrom::Start(self.data_start + start as u64);
        file.seek(place).map_err(Error::io(&self.path))?;
        let mut buffer = vec![0; (end - start).min(PART)];
        for part in (start..end).step_by(PART) {
            let bytes = &mut buffer[..PART.min(end - part)];
            file.read_exact(bytes).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => Error::Checkpoint {
                    path: self.path.clone(),
                    reason: "it has become shorter".to_string(),
                },
                _ => Error::io(&self.path)(error),
            })?;
            values.extend(bytes.as_chunks().0.iter().map(|bytes| value(*bytes)));
        }
        Ok(values)
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

/// A parameter as an `f32` tensor of a file; its bytes are made when they are written.
struct Stored<'a>(&'a Param);

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values = self.0.values().clone().into_data().convert::<f32>();
        values.iter::<f32>().flat_map(f32::to_le_bytes).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        self.0.shape().iter().product::<usize>() * size_of::<f32>()
    }
}

/// Writes parameters as `f32` to a safetensors file, under their paths, one after another. The file
/// appears whole or not at all.
///
/// # Errors
///
/// [`Error::Write`] if it cannot be written.
pub fn write(path: &Path, params: &ParamSet) -> Result<()> {
    let tensors = params.iter().map(|(name, param)| (name, Stored(param)));
    let format = HashMap::from([("format".to_string(), "pt".to_string())]);
    Ok(write_atomically_with(path, |temporary| {
        safetensors::serialize_to_file(tensors, Some(format), temporary).map_err(
            |error| match error {
                SafeTensorError::IoError(error) => error,
                other => std::io::Error::other(other),
            },
        )
    })?)
}
