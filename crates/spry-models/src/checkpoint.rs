//! Safetensors files in and out.
//!
//! A tensor is mapped into memory, converted and unmapped before the next one is looked at, so that
//! loading a model peaks at its weights plus one tensor.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::{bf16, f16};
use memmap2::{Mmap, MmapOptions};
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensorError, View};
use serde::Deserialize;
use spry_core::{Param, ParamSet};
use spry_data::files::write_atomically_with;

use crate::{Error, Result};

/// Headers are JSON of a few kilobytes; the format's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;

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
        let Mapped { dtype, shape, bytes } = self.map(name)?;
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
    pub fn read_integers(&self, name: &str) -> Result<Vec<i64>> {
        let Mapped { dtype, bytes, .. } = self.map(name)?;
        if dtype != Dtype::I64 {
            return Err(Error::DType { name: name.to_string(), got: format!("{dtype:?}") });
        }
        Ok(bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
    }

    fn map(&self, name: &str) -> Result<Mapped> {
        let unknown = || Error::UnknownWeight { path: name.to_string() };
        let file = &self.files[*self.places.get(name).ok_or_else(unknown)?];
        file.map(name)?.ok_or_else(unknown)
    }
}

/// One safetensors file.
#[derive(Debug)]
struct TensorFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    data_start: u64,
}

/// A tensor of a file.
struct Mapped {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Bytes,
}

/// A tensor's bytes in the file. A mapping cannot be empty, a tensor can.
enum Bytes {
    Mapped(Mmap),
    Empty,
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Empty => &[],
        }
    }
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
        Ok(Self { path: path.to_path_buf(), file, metadata, data_start })
    }

    /// Maps a tensor's bytes; `None` if there is no such tensor.
    fn map(&self, name: &str) -> Result<Option<Mapped>> {
        let Some(info) = self.metadata.info(name) else { return Ok(None) };
        let (dtype, shape, (start, end)) = (info.dtype, info.shape.clone(), info.data_offsets);
        let bytes = match end - start {
            0 => Bytes::Empty,
            length => {
                let end = self.data_start + end as u64;
                if self.file.metadata().map_err(Error::io(&self.path))?.len() < end {
                    let (path, reason) = (self.path.clone(), "it has become shorter".to_string());
                    return Err(Error::Checkpoint { path, reason });
                }
                let mut options = MmapOptions::new();
                options.offset(self.data_start + start as u64).len(length);
                // SAFETY: the mapping is read-only, private to this crate, and dropped as soon as it
                // has been copied from. The file was just seen to reach as far. What is left is
                // another process that shortens the file in just that moment, which no reader of
                // mapped files can rule out: the system then ends this process with a signal; no
                // wrong memory is read.
                #[allow(unsafe_code)]
                let map = unsafe { options.map(&self.file) };
                Bytes::Mapped(map.map_err(Error::io(&self.path))?)
            }
        };
        Ok(Some(Mapped { dtype, shape, bytes }))
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
