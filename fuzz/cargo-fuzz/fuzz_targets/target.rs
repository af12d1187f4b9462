//! The target that the binary is named after, for libFuzzer.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use spry_fuzz::Target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = env!("CARGO_BIN_NAME");
    Target::find(name).unwrap_or_else(|| panic!("the table has no target `{name}`"))
});

fuzz_target!(|input: &[u8]| {
    // A refusal is as good as success.
    let _ = (TARGET.run)(input);
});
