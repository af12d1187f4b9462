//! Safetensors files in and out.
//!
//! A tensor's bytes are read straight into the values that become the weight, one tensor after the
//! other, so that loading a model peaks at its weights.

use spry_data::guard::sayable;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;
use spry_core::{Param, ParamSet};
use spry_data::files::write_atomically_with;

use crate::budget::Budget;
use crate::read;
use crate::{Error, Result};

/// Headers are JSON of a few kilobytes.
const MAX_HEADER_BYTES: u64 = 1 << 24;

/// Bytes that are read at a time; a multiple of every value's size.
const PART: usize = 1 << 20;

/// Files that one index may list; each is open as long as the checkpoint is.
const MAX_FILES: usize = 512;

/// Name of the file with the weights of a model.
pub const MODEL: &str = "model.safetensors";

/// Name of the file that says where the weights of a model in several files are.
pub const MODEL_INDEX: &str = "model.safetensors.index.json";

/// Weights of a model in other formats.
const OTHER_FORMATS: [&str; 5] = [
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "flax_model.msgpack",
    "consolidated.00.pth",
];

/// How a model's weights become what is read.
const CONVERT_MODEL: &str = "AutoModel.from_pretrained(folder).save_pretrained(folder)";

/// Tensors of one safetensors file, or of several that an index lists; open for reading.
#[derive(Debug)]
pub struct Checkpoint {
    /// The file, or the index.
    path: PathBuf,
    files: Vec<TensorFile>,
    places: HashMap<String, Place>,
}

/// Where a tensor is.
#[derive(Debug)]
enum Place {
    /// In a file, by its number.
    In(usize),
    /// In two files.
    Twice(usize, usize),
    /// In a file that the index names and that cannot be read: its name, and why.
    Missing(String, String),
}

/// `model.safetensors.index.json`, as far as it is used.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Index {
    fn read(path: &Path) -> Result<Self> {
        let unusable = |reason: String| Error::Index { path: path.to_path_buf(), reason };
        let text = read::text(path)?;
        let index: Self =
            serde_json::from_str(&text).map_err(|error| unusable(sayable(&error.to_string())))?;
        let mut budget = Budget::OF_FILE;
        index.weight_map.keys().try_for_each(|name| budget.take_name(name))?;
        Ok(index)
    }

    /// Names of the files, sorted.
    fn files(&self, path: &Path) -> Result<Vec<String>> {
        let mut names: Vec<String> = self.weight_map.values().cloned().collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > MAX_FILES {
            let reason = format!("it lists {} files, more than {MAX_FILES}", names.len());
            return Err(Error::Index { path: path.to_path_buf(), reason });
        }
        let is_beside = |name: &&String| {
            let mut parts = Path::new(name).components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        };
        // Whoever wrote the index must not choose files elsewhere.
        match names.iter().find(|name| !is_beside(name)) {
            Some(name) => Err(Error::Index {
                path: path.to_path_buf(),
                reason: format!("`{}` is not the name of a file beside it", sayable(name)),
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
        let mut budget = Budget::OF_FILE;
        let file = TensorFile::open(path, &mut budget)?;
        let places = file.metadata.tensors().into_keys().map(|name| (name, Place::In(0))).collect();
        Ok(Self { path: path.to_path_buf(), files: vec![file], places })
    }

    /// Opens the weights in a model's folder: `model.safetensors`, or without it the files that
    /// `model.safetensors.index.json` lists. As in Python, what counts is what these have: the
    /// index may list tensors that no file has, and lack others. A file that cannot be read is an
    /// error only if a tensor is [needed](Self::check_are_readable) that the index places there.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), [`Error::Index`] if the index cannot be read, and
    /// [`Error::NotSafetensors`] for weights of another format.
    pub fn of_model(folder: &Path) -> Result<Self> {
        let (whole, index) = (folder.join(MODEL), folder.join(MODEL_INDEX));
        if whole.exists() {
            return Self::open(&whole);
        }
        if index.exists() {
            return Self::open_index(folder, &index);
        }
        match OTHER_FORMATS.into_iter().find(|name| folder.join(name).exists()) {
            Some(name) => {
                Err(Error::NotSafetensors { path: folder.join(name), how: CONVERT_MODEL })
            }
            None => Self::open(&whole),
        }
    }

    fn open_index(folder: &Path, path: &Path) -> Result<Self> {
        let index = Index::read(path)?;
        let (mut files, mut places) = (Vec::new(), HashMap::new());
        let mut unreadable = HashMap::new();
        let mut budget = Budget::OF_FILE;
        for name in index.files(path)? {
            match TensorFile::open(&folder.join(&name), &mut budget) {
                Ok(file) => files.push(file),
                Err(Error::Io { reason, .. }) => {
                    unreadable.insert(name, reason.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        for (place, file) in files.iter().enumerate() {
            for name in file.metadata.tensors().into_keys() {
                let place = match places.get(&name) {
                    Some(Place::In(other) | Place::Twice(other, _)) => Place::Twice(*other, place),
                    _ => Place::In(place),
                };
                places.insert(name, place);
            }
        }
        for (tensor, file) in index.weight_map {
            if let Some(reason) = unreadable.get(&file) {
                places.entry(tensor).or_insert_with(|| Place::Missing(file, reason.clone()));
            }
        }
        Ok(Self { path: path.to_path_buf(), files, places })
    }

    /// Fails unless each of these tensors is in just one file, and that can be read.
    ///
    /// # Errors
    ///
    /// [`Error::MissingFiles`] naming all files that lack, or [`Error::Index`].
    pub fn check_are_readable<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<()> {
        let mut missing = BTreeMap::new();
        for name in names {
            match self.places.get(name) {
                Some(Place::Missing(file, reason)) => {
                    missing.insert(file.as_str(), reason);
                }
                Some(Place::Twice(one, other)) => {
                    let file = |place: &usize| self.files[*place].path.display();
                    let (one, other) = (file(one), file(other));
                    let reason = format!("`{}` is both in {one} and in {other}", sayable(name));
                    return Err(Error::Index { path: self.path.clone(), reason });
                }
                Some(Place::In(_)) | None => {}
            }
        }
        let Some((_, reason)) = missing.first_key_value() else { return Ok(()) };
        let names: Vec<&str> = missing.keys().copied().collect();
        Err(Error::MissingFiles {
            path: self.path.clone(),
            files: names.join(", "),
            reason: reason.to_string(),
        })
    }

    /// The file, or the index of several.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the tensors that the files have, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let is_there = |place: &Place| !matches!(place, Place::Missing(..));
        self.places.iter().filter(move |(_, place)| is_there(place)).map(|(name, _)| name.as_str())
    }

    /// Whether there is a tensor of this name, or should be.
    pub fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.find(name).ok().map(|(_, info)| info.shape.as_slice())
    }

    /// A float tensor's values as they are, finite or not: as `f64` if they are stored so, else as
    /// `f32`.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownWeight`] if there is none, [`Error::DType`] if it is not a float tensor,
    /// [`Error::Io`] if the file cannot be read.
    pub fn read(&self, name: &str) -> Result<TensorData> {
        let (file, info) = self.find(name)?;
        let shape = info.shape.clone();
        Ok(match info.dtype {
            Dtype::F64 => {
                TensorData::new(file.values(name, info, f64::from_le_bytes, |_| true)?, shape)
            }
            _ => TensorData::new(file.singles(name, info, |_| true)?, shape),
        })
    }

    /// A float tensor's values as weights of a model: finite, in `f32` or `f64` as asked for.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and [`Error::NotFinite`] for a value that is not finite, or beyond
    /// the range of `f32`.
    pub fn read_weight(&self, name: &str, dtype: DType) -> Result<TensorData> {
        let (file, info) = self.find(name)?;
        let shape = info.shape.clone();
        Ok(match (info.dtype, dtype) {
            (Dtype::F64, DType::F64) => {
                let values =
                    file.values(name, info, f64::from_le_bytes, |x: &f64| x.is_finite())?;
                TensorData::new(values, shape)
            }
            (Dtype::F64, _) => {
                let single = |bytes| f64::from_le_bytes(bytes) as f32;
                let values = file.values(name, info, single, |x: &f32| x.is_finite())?;
                TensorData::new(values, shape)
            }
            _ => TensorData::new(file.singles(name, info, |x| x.is_finite())?, shape),
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
        file.values(name, info, i64::from_le_bytes, |_| true)
    }

    fn find(&self, name: &str) -> Result<(&TensorFile, &TensorInfo)> {
        let unknown = || Error::UnknownWeight { path: name.to_string() };
        let file = match self.places.get(name) {
            // Python takes the last, too.
            Some(Place::In(file) | Place::Twice(_, file)) => &self.files[*file],
            Some(Place::Missing(..)) | None => return Err(unknown()),
        };
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
    /// Opens a file and takes what its header lists out of a budget.
    fn open(path: &Path, budget: &mut Budget) -> Result<Self> {
        let damaged = |reason: String| Error::Checkpoint { path: path.to_path_buf(), reason };
        let mut file = spry_data::guard::open(path)?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        let mut header_length = [0; 8];
        if length < 8 {
            return Err(damaged(format!("it has only {length} bytes")));
        }
        file.read_exact(&mut header_length).map_err(Error::io(path))?;
        let header_length = u64::from_le_bytes(header_length);
        if header_length > length - 8 {
            return Err(damaged(format!(
                "its header claims {header_length} bytes, the file has {length}; it is cut short, \
                 or of another format"
            )));
        }
        if header_length > MAX_HEADER_BYTES {
            return Err(damaged(format!(
                "its header has {header_length} bytes, more than the {MAX_HEADER_BYTES} that are \
                 read"
            )));
        }
        let mut header = vec![0; header_length as usize];
        file.read_exact(&mut header).map_err(Error::io(path))?;
        // Each tensor is a table, so that no more are made of the header than it may list.
        let tables = header.iter().filter(|byte| **byte == b'{').count();
        if tables > budget.tensors.saturating_add(2) {
            return Err(damaged(format!("its header lists {tables} tensors, too many")));
        }
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| {
            damaged(format!("its header cannot be read: {}", sayable(&error.to_string())))
        })?;
        metadata.offset_keys().iter().try_for_each(|name| budget.take_name(name))?;
        let data_start = 8 + header_length;
        let expected = data_start.checked_add(metadata.data_len() as u64);
        if expected != Some(length) {
            let expected = expected.map_or("more than there can be".to_string(), |e| e.to_string());
            return Err(damaged(format!("it has {length} bytes, its header says {expected}")));
        }
        Ok(Self { path: path.to_path_buf(), file: Mutex::new(file), metadata, data_start })
    }

    /// The values of a tensor of single precision or less.
    fn singles(
        &self,
        name: &str,
        info: &TensorInfo,
        is_fine: impl Fn(&f32) -> bool,
    ) -> Result<Vec<f32>> {
        match info.dtype {
            Dtype::F32 => self.values(name, info, f32::from_le_bytes, is_fine),
            Dtype::F16 => self.values(name, info, |b| f16::from_le_bytes(b).to_f32(), is_fine),
            Dtype::BF16 => self.values(name, info, |b| bf16::from_le_bytes(b).to_f32(), is_fine),
            other => Err(Error::DType { name: sayable(name), got: format!("{other:?}") }),
        }
    }

    /// A tensor's values, each made of `N` bytes; a part of the file at a time. Fails for the first
    /// that is not fine.
    fn values<const N: usize, T: std::fmt::Display>(
        &self,
        name: &str,
        info: &TensorInfo,
        value: impl Fn([u8; N]) -> T,
        is_fine: impl Fn(&T) -> bool,
    ) -> Result<Vec<T>> {
        let (start, end) = info.data_offsets;
        let mut values: Vec<T> = Vec::with_capacity((end - start) / N);
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
            let before = values.len();
            values.extend(bytes.as_chunks().0.iter().map(|bytes| value(*bytes)));
            if let Some(place) = values[before..].iter().position(|value| !is_fine(value)) {
                let index = before + place;
                let value = match values[index].to_string().as_str() {
                    "inf" | "-inf" => "infinite, or too large for f32".to_string(),
                    other => other.to_string(),
                };
                let (path, name) = (self.path.clone(), sayable(name));
                return Err(Error::NotFinite { path, name, index, value });
            }
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

/// Writes parameters as `f32` to a safetensors file, under their paths, one after another. The file
/// appears whole or not at all.
///
/// # Errors
///
/// [`Error::Io`] or [`Error::Data`] if it cannot be written.
pub fn write(path: &Path, params: &ParamSet) -> Result<()> {
    let mut tensors: Vec<(&str, &Param)> = params.iter().collect();
    tensors.sort_unstable_by_key(|(name, _)| *name);
    let mut end = 0;
    let infos = tensors.iter().map(|(name, param)| {
        let start = end;
        end += param.num_elements() * size_of::<f32>();
        let (shape, data_offsets) = (param.shape().to_vec(), (start, end));
        (name.to_string(), TensorInfo { dtype: Dtype::F32, shape, data_offsets })
    });
    let infos = infos.collect();
    let format = HashMap::from([("format".to_string(), "pt".to_string())]);
    let unwritable = |error: &dyn std::fmt::Display| Error::Checkpoint {
        path: path.to_path_buf(),
        reason: error.to_string(),
    };
    let metadata = Metadata::new(Some(format), infos).map_err(|error| unwritable(&error))?;
    let mut header = serde_json::to_vec(&metadata).map_err(|error| unwritable(&error))?;
    // The data begin at a multiple of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(write_atomically_with(path, |temporary| {
        let mut file = BufWriter::new(File::create(temporary)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for (_, param) in &tensors {
            let values = param.values().to_data().convert::<f32>();
            for value in values.iter::<f32>() {
                file.write_all(&value.to_le_bytes())?;
            }
        }
        file.flush()
    })?)
}
