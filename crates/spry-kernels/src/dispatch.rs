//! Which instructions kernels use.

use std::cell::Cell;
use std::sync::OnceLock;

use pulp::Arch;

thread_local! {
    static CHOSEN: Cell<Option<Arch>> = const { Cell::new(None) };
}

/// The machine's best, unless a test has chosen others.
pub(crate) fn arch() -> Arch {
    static BEST: OnceLock<Arch> = OnceLock::new();
    CHOSEN.get().unwrap_or_else(|| *BEST.get_or_init(Arch::new))
}

/// Runs `work` with each set of instructions that this machine has, given its name, for kernels that
/// are called on this thread. For tests: users always get the best.
///
/// ```
/// let mut names = Vec::new();
/// spry_kernels::for_each_instruction_set(|name| names.push(name));
/// assert_eq!(names[0], "scalar");
/// ```
#[doc(hidden)]
pub fn for_each_instruction_set(mut work: impl FnMut(&'static str)) {
    /// Restores the choice even if `work` panics.
    struct Restore(Option<Arch>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CHOSEN.set(self.0);
        }
    }
    let _restore = Restore(CHOSEN.get());
    for (name, arch) in available() {
        CHOSEN.set(Some(arch));
        work(name);
    }
}

#[cfg(target_arch = "x86_64")]
fn available() -> Vec<(&'static str, Arch)> {
    let avx2 = pulp::x86::V3::try_new().map(|simd| ("AVX2", Arch::V3(simd)));
    let avx512 = pulp::x86::V4::try_new().map(|simd| ("AVX-512", Arch::V4(simd)));
    [Some(("scalar", Arch::Scalar)), avx2, avx512].into_iter().flatten().collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn available() -> Vec<(&'static str, Arch)> {
    vec![("scalar", Arch::Scalar), ("best", Arch::new())]
}
