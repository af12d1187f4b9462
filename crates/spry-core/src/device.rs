//! Devices by name.

use burn::tensor::{Device, Tensor};

use crate::{Error, Result};

/// Names of the devices this build has, for messages and help texts.
pub fn names() -> Vec<&'static str> {
    let all = [
        ("flex", cfg!(feature = "flex")),
        ("ndarray", cfg!(feature = "ndarray")),
        ("cuda", cfg!(feature = "cuda")),
        ("wgpu", cfg!(feature = "wgpu")),
    ];
    all.into_iter().filter(|(_, is_built)| *is_built).map(|(name, _)| name).collect()
}

/// The device with a name: `flex`, `ndarray`, `cuda` or `wgpu`, as far as this build has them;
/// `cuda:1` is the second CUDA device.
///
/// # Errors
///
/// [`Error::InvalidOption`], listing the devices of this build.
///
/// ```
/// assert!(spry_core::device::parse("flex").is_ok());
/// assert!(spry_core::device::parse("abacus").is_err());
/// ```
pub fn parse(name: &str) -> Result<Device> {
    let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
    let index: Option<usize> = index.parse().ok();
    match (kind, index) {
        #[cfg(feature = "flex")]
        ("flex", Some(0)) => Ok(Device::flex()),
        #[cfg(feature = "ndarray")]
        #[allow(deprecated)] // supported as long as Burn ships it
        ("ndarray", Some(0)) => Ok(Device::ndarray()),
        #[cfg(feature = "cuda")]
        ("cuda", Some(index)) => Ok(Device::cuda(index)),
        #[cfg(feature = "wgpu")]
        ("wgpu", Some(0)) => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        _ => Err(Error::InvalidOption {
            option: "device",
            got: format!("`{name}`"),
            expected: format!(
                "one of {}; others need a build with `--features` ndarray, cuda or wgpu",
                names().join(", ")
            ),
        }),
    }
}

/// The device that computes in the host's memory: that of the first CPU backend of this build. What
/// is read from a file or a message goes there first. It always works, whereas
/// [`Device::default`] is a GPU in a build for one, where there may be none.
///
/// ```
/// # use burn::tensor::Tensor;
/// let device = spry_core::device::host();
/// assert_eq!(Tensor::<1>::ones([2], &device).into_data().try_to_vec::<f32>().unwrap(), [1.0, 1.0]);
/// ```
pub fn host() -> Device {
    #[cfg(feature = "flex")]
    {
        Device::flex()
    }
    #[cfg(all(feature = "ndarray", not(feature = "flex")))]
    #[allow(deprecated)] // supported as long as Burn ships it
    {
        Device::ndarray()
    }
    #[cfg(not(any(feature = "flex", feature = "ndarray")))]
    {
        Device::default()
    }
}

/// Computes something small, so that a device that is not there fails now and not within a run.
///
/// # Errors
///
/// [`Error::InvalidOption`] if the device computes nonsense.
///
/// # Panics
///
/// Backends of GPUs panic where there is no GPU or driver; whoever asks for a device that may not
/// be there catches it.
///
/// ```
/// spry_core::device::probe(&spry_core::device::host())?;
/// # Ok::<(), spry_core::Error>(())
/// ```
pub fn probe(device: &Device) -> Result<()> {
    let sum = Tensor::<1>::ones([2], device).sum().into_scalar::<f32>();
    if sum == 2.0 {
        return Ok(());
    }
    Err(Error::InvalidOption {
        option: "device",
        got: format!("one that computes 1 + 1 = {sum}"),
        expected: "one that works".to_string(),
    })
}
