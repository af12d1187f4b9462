//! Devices by name.

use burn::tensor::Device;

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
