//! MIG profiles as NVML describes them.
//!
//! Memory is that of `nvidia-smi mig -lgip`, or of that size where it is not to be had: what a client makes of it is
//! how many slices of the board it needs.

/// A MIG profile.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Its name, such as `1g.10gb`.
    pub name: &'static str,
    /// Compute slices of the GPU instance.
    pub slices: u32,
    /// Memory of the GPU instance.
    pub mebibytes: u64,
    /// Multiprocessors of the GPU instance.
    pub multiprocessors: u32,
}

const fn profile(name: &'static str, slices: u32, mebibytes: u64, multiprocessors: u32) -> Profile {
    Profile { name, slices, mebibytes, multiprocessors }
}

// === impl Profile ===

impl Profile {
    /// An eighth of an 80 GB A100.
    pub const X80GB_1G: Self = Self::A100_80GB[0];
    /// Two sevenths of an 80 GB A100.
    pub const X80GB_2G: Self = Self::A100_80GB[3];
    /// Three sevenths of an 80 GB A100, with half of its memory.
    pub const X80GB_3G: Self = Self::A100_80GB[4];
    /// Four sevenths of an 80 GB A100.
    pub const X80GB_4G: Self = Self::A100_80GB[5];
    /// A quarter of an A30.
    pub const A30_1G: Self = Self::A30[0];
    /// Half of an A30.
    pub const A30_2G: Self = Self::A30[2];

    /// All of an A30, from the smallest.
    pub const A30: [Self; 5] = [
        profile("1g.6gb", 1, 5_836, 14),
        profile("1g.6gb+me", 1, 5_836, 14),
        profile("2g.12gb", 2, 11_672, 28),
        profile("2g.12gb+me", 2, 11_672, 28),
        profile("4g.24gb", 4, 23_344, 56),
    ];

    /// All of an A100 with 40 GB. On every board of seven slices they come in this order: one slice, the same with media
    /// engines, one slice with double memory, two, three, four, seven.
    pub const A100_40GB: [Self; 7] = [
        profile("1g.5gb", 1, 4_864, 14),
        profile("1g.5gb+me", 1, 4_864, 14),
        profile("1g.10gb", 1, 9_856, 14),
        profile("2g.10gb", 2, 9_856, 28),
        profile("3g.20gb", 3, 19_968, 42),
        profile("4g.20gb", 4, 19_968, 56),
        profile("7g.40gb", 7, 40_192, 98),
    ];

    /// All of an A100 with 80 GB.
    pub const A100_80GB: [Self; 7] = [
        profile("1g.10gb", 1, 9_856, 14),
        profile("1g.10gb+me", 1, 9_856, 14),
        profile("1g.20gb", 1, 19_968, 14),
        profile("2g.20gb", 2, 19_968, 28),
        profile("3g.40gb", 3, 40_192, 42),
        profile("4g.40gb", 4, 40_192, 56),
        profile("7g.80gb", 7, 80_384, 98),
    ];

    /// All of an H100 with 80 GB.
    pub const H100_80GB: [Self; 7] = [
        profile("1g.10gb", 1, 9_984, 16),
        profile("1g.10gb+me", 1, 9_984, 16),
        profile("1g.20gb", 1, 20_096, 26),
        profile("2g.20gb", 2, 20_096, 32),
        profile("3g.40gb", 3, 40_448, 60),
        profile("4g.40gb", 4, 40_448, 64),
        profile("7g.80gb", 7, 81_152, 132),
    ];

    /// All of an H200 with 141 GB.
    pub const H200_141GB: [Self; 7] = [
        profile("1g.18gb", 1, 16_384, 16),
        profile("1g.18gb+me", 1, 16_384, 16),
        profile("1g.35gb", 1, 33_280, 26),
        profile("2g.35gb", 2, 33_280, 32),
        profile("3g.71gb", 3, 71_168, 60),
        profile("4g.71gb", 4, 71_168, 64),
        profile("7g.141gb", 7, 143_360, 132),
    ];

    /// All of a B200 with 180 GB.
    pub const B200_180GB: [Self; 7] = [
        profile("1g.23gb", 1, 22_144, 18),
        profile("1g.23gb+me", 1, 22_144, 18),
        profile("1g.45gb", 1, 45_056, 30),
        profile("2g.45gb", 2, 45_056, 36),
        profile("3g.90gb", 3, 90_880, 70),
        profile("4g.90gb", 4, 90_880, 72),
        profile("7g.180gb", 7, 182_528, 148),
    ];

    /// All of an RTX PRO 6000 with 96 GB, from the smallest.
    pub const RTX_PRO_6000: [Self; 11] = [
        profile("1g.24gb", 1, 24_192, 46),
        profile("1g.24gb+gfx", 1, 24_192, 46),
        profile("1g.24gb+me", 1, 24_192, 46),
        profile("1g.24gb+me.all", 1, 24_192, 46),
        profile("1g.24gb-me", 1, 24_192, 46),
        profile("2g.48gb", 2, 48_512, 94),
        profile("2g.48gb+gfx", 2, 48_512, 94),
        profile("2g.48gb+me.all", 2, 48_512, 94),
        profile("2g.48gb-me", 2, 48_512, 94),
        profile("4g.96gb", 4, 97_280, 188),
        profile("4g.96gb+gfx", 4, 97_280, 188),
    ];
}
