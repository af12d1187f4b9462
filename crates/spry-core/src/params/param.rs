//! One trainable weight.

use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What a parameter is for; methods may treat the two differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ParamRole {
    /// Part of the finetuned network body: a LoRA matrix, a bias, any weight.
    Adapter,
    /// Part of the task head.
    Head,
}

/// Number of the group a parameter belongs to, in order of depth.
///
/// A group is what Spry assigns as one piece: one LoRA pair, one bias vector. The paper (section
/// 3.1) calls it a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub u32);

/// A trainable weight: values, shape, role and group.
///
/// The values are kept flat, so that one type holds weights of any rank, and optimizers need no
/// generics. In messages they travel as `f32`, or as `f64` if they are.
#[derive(Clone, Debug)]
pub struct Param {
    values: Tensor<1>,
    shape: Vec<usize>,
    role: ParamRole,
    group: GroupId,
}

impl Param {
    /// A parameter from a tensor of any rank.
    pub fn new<const D: usize>(value: Tensor<D>, role: ParamRole, group: GroupId) -> Self {
        let shape = value.dims().to_vec();
        let length = shape.iter().product::<usize>();
        Self { values: value.reshape([length]), shape, role, group }
    }

    /// A parameter of any shape from flat values in row-major order.
    ///
    /// # Panics
    ///
    /// If the shape has another number of values.
    pub fn from_flat(
        values: Tensor<1>,
        shape: Vec<usize>,
        role: ParamRole,
        group: GroupId,
    ) -> Self {
        let length = shape.iter().product::<usize>();
        assert_eq!(values.dims(), [length], "a parameter of shape {shape:?} has {length} values");
        Self { values, shape, role, group }
    }

    /// The values, flat, in row-major order.
    pub fn values(&self) -> &Tensor<1> {
        &self.values
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The role.
    pub fn role(&self) -> ParamRole {
        self.role
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// Number of values.
    pub fn num_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Data type of the values.
    pub fn dtype(&self) -> DType {
        self.values.dtype()
    }

    /// The same parameter with other values.
    ///
    /// # Panics
    ///
    /// If the number of values differs.
    pub fn with_values(&self, values: Tensor<1>) -> Self {
        assert_eq!(values.dims(), [self.num_elements()], "a parameter keeps its number of values");
        Self { values, ..self.clone() }
    }

    /// Fails, naming the path, if `other` has another shape.
    pub(crate) fn check_same_shape(&self, path: &str, other: &Self) -> crate::Result<()> {
        if self.shape == other.shape {
            return Ok(());
        }
        Err(crate::Error::ShapeMismatch {
            path: path.to_string(),
            expected: self.shape.clone(),
            got: other.shape.clone(),
        })
    }

    /// Fails, saying what, if `other` differs from this parameter in anything but its values.
    pub(crate) fn check_same_kind(&self, path: &str, other: &Self) -> crate::Result<()> {
        self.check_same_shape(path, other)?;
        let kind = |param: &Self| {
            let (dtype, role, GroupId(group)) = (param.dtype(), param.role, param.group);
            format!("{role:?} of group {group} in {dtype:?}").to_lowercase()
        };
        let (expected, got) = (kind(self), kind(other));
        if expected == got {
            return Ok(());
        }
        Err(crate::Error::KindMismatch { path: path.to_string(), expected, got })
    }

    /// The same parameter on another device.
    pub fn to_device(&self, device: &Device) -> Self {
        Self { values: self.values.clone().to_device(device), ..self.clone() }
    }

    /// The values as `f64`, on the host.
    ///
    /// # Panics
    ///
    /// If the device fails to hand them over.
    pub fn to_vec(&self) -> Vec<f64> {
        let values = self.values.to_data().convert::<f64>().try_to_vec();
        values.unwrap_or_else(|error| panic!("cannot read a parameter's values: {error:?}"))
    }

    /// The same parameter with values from the host, in this parameter's dtype and on its device.
    ///
    /// # Panics
    ///
    /// If the number of values differs.
    pub fn with_vec(&self, values: Vec<f64>) -> Self {
        let length = values.len();
        let data = TensorData::new(values, [length]);
        self.with_values(Tensor::from_data(data, (&self.values.device(), self.dtype())))
    }
}

/// How a parameter looks in a message or checkpoint: values as little-endian bytes.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    shape: Vec<usize>,
    role: ParamRole,
    group: GroupId,
    dtype: StoredDType,
    #[serde(borrow, with = "serde_bytes")]
    bytes: std::borrow::Cow<'a, [u8]>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum StoredDType {
    F32,
    F64,
}

impl Serialize for Param {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let data = self.values.to_data();
        let (dtype, bytes) = match data.dtype() {
            DType::F64 => (StoredDType::F64, data.as_slice::<f64>().map(to_le_bytes)),
            _ => {
                let data = data.convert::<f32>();
                (StoredDType::F32, data.as_slice::<f32>().map(to_le_bytes))
            }
        };
        let bytes = bytes.map_err(|error| serde::ser::Error::custom(format!("{error:?}")))?.into();
        Stored { shape: self.shape.clone(), role: self.role, group: self.group, dtype, bytes }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Param {
    /// Puts the values into the host's memory, also on builds with a GPU backend. Use
    /// [`Param::to_device`] to move them to another device.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        let length = stored.shape.iter().try_fold(1usize, |length, &axis| length.checked_mul(axis));
        let width = match stored.dtype {
            StoredDType::F32 => 4,
            StoredDType::F64 => 8,
        };
        let Some(length) =
            length.filter(|length| length.checked_mul(width) == Some(stored.bytes.len()))
        else {
            return Err(de::Error::custom(format!(
                "a parameter of shape {:?} cannot have {} bytes",
                stored.shape,
                stored.bytes.len()
            )));
        };
        let device = crate::device::host();
        let values = match stored.dtype {
            StoredDType::F32 => {
                let values: Vec<f32> =
                    stored.bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                Tensor::from_data(TensorData::new(values, [length]), (&device, DType::F32))
            }
            StoredDType::F64 => {
                let values: Vec<f64> =
                    stored.bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
                Tensor::from_data(TensorData::new(values, [length]), (&device, DType::F64))
            }
        };
        Ok(Self { values, shape: stored.shape, role: stored.role, group: stored.group })
    }
}

/// Little-endian bytes of a slice of floats.
fn to_le_bytes<T: LittleEndian>(values: &[T]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(std::mem::size_of_val(values));
    for value in values {
        value.append_to(&mut bytes);
    }
    bytes
}

trait LittleEndian {
    fn append_to(&self, bytes: &mut Vec<u8>);
}

impl LittleEndian for f32 {
    fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }
}

impl LittleEndian for f64 {
    fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }
}
