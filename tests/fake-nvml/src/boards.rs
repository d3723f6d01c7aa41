//! Boards as NVIDIA makes them. The `n` of a constructor is the board's index, minor number and the end of its UUID.

use crate::description::{Board, Energy, Gpm, Memory, Mig, MigDevice, Utilization};

const MIB: u64 = 1 << 20;

/// A MIG profile: its name, compute slices and the memory that NVML shows.
#[derive(Clone, Copy, Debug)]
pub struct Profile(pub &'static str, pub u32, pub u64);

// === impl Profile ===

impl Profile {
    /// An eighth of an A100 40 GB.
    pub const A100_40GB_1G: Self = Self("1g.5gb", 1, 4_864);
    /// A seventh of an 80 GB board.
    pub const X80GB_1G: Self = Self("1g.10gb", 1, 9_856);
    /// Two sevenths of an 80 GB board.
    pub const X80GB_2G: Self = Self("2g.20gb", 2, 19_968);
    /// Three sevenths of an 80 GB board, with half of its memory.
    pub const X80GB_3G: Self = Self("3g.40gb", 3, 40_192);
    /// Four sevenths of an 80 GB board.
    pub const X80GB_4G: Self = Self("4g.40gb", 4, 40_192);
    /// All of an 80 GB board.
    pub const X80GB_7G: Self = Self("7g.80gb", 7, 80_384);
    /// A quarter of an A30.
    pub const A30_1G: Self = Self("1g.6gb", 1, 5_836);
    /// Half of an A30.
    pub const A30_2G: Self = Self("2g.12gb", 2, 11_672);
}

// === impl Board ===

impl Board {
    /// A Tesla T4: no MIG, no counters.
    #[must_use]
    pub fn t4(n: u32) -> Self {
        Self::whole(n, "Tesla T4", 15_360, 70)
    }

    /// An L4: no MIG, no counters.
    #[must_use]
    pub fn l4(n: u32) -> Self {
        Self::whole(n, "NVIDIA L4", 23_034, 72)
    }

    /// An A100 with 40 GB: MIG, no counters.
    #[must_use]
    pub fn a100_40gb(n: u32) -> Self {
        Self { mig_capable: true, ..Self::whole(n, "NVIDIA A100-SXM4-40GB", 40_960, 400) }
    }

    /// An A100 with 80 GB: MIG, no counters.
    #[must_use]
    pub fn a100_80gb(n: u32) -> Self {
        Self { mig_capable: true, ..Self::whole(n, "NVIDIA A100-SXM4-80GB", 81_920, 400) }
    }

    /// An A30: MIG in quarters, no counters.
    #[must_use]
    pub fn a30(n: u32) -> Self {
        Self { mig_capable: true, ..Self::whole(n, "NVIDIA A30", 24_576, 165) }
    }

    /// An H100 with 80 GB: MIG and counters.
    #[must_use]
    pub fn h100_80gb(n: u32) -> Self {
        let gpm = Gpm { graphics: Some(0.0), sm: Some(0.0), tensor: Some(0.0), dram: Some(0.0) };
        Self { mig_capable: true, gpm: Some(gpm), ..Self::whole(n, "NVIDIA H100 80GB HBM3", 81_559, 700) }
    }

    /// The same board at work: so many percent of the time.
    #[must_use]
    pub fn busy(self, percent: u32) -> Self {
        Self { utilization: Utilization::Percent(percent), ..self }
    }

    /// The same board, sampled so.
    #[must_use]
    pub fn sampled(self, utilization: Utilization) -> Self {
        Self { utilization, ..self }
    }

    /// The same board whose counters say so many percent.
    #[must_use]
    pub fn counting(self, graphics: f64, sm: f64, tensor: f64, dram: f64) -> Self {
        Self { gpm: Some(Gpm::new(graphics, sm, tensor, dram)), ..self }
    }

    /// The same board cut into MIG devices at these indices.
    #[must_use]
    pub fn cut(self, max: u32, devices: impl IntoIterator<Item = Option<MigDevice>>) -> Self {
        Self { mig: Some(Mig { max, devices: devices.into_iter().collect() }), ..self }
    }

    /// The same board whose `function` returns `code`; `*` is every function.
    #[must_use]
    pub fn returning(mut self, function: &str, code: u32) -> Self {
        self.returns.insert(function.into(), code);
        self
    }

    /// The same board whose `function` hangs; `*` is every function.
    #[must_use]
    pub fn hanging(mut self, function: &str) -> Self {
        self.hangs.insert(function.into());
        self
    }

    /// The same board after one more critical error.
    #[must_use]
    pub fn failing(mut self, xid: u64) -> Self {
        self.xids.push(xid);
        self
    }

    fn whole(n: u32, name: &str, mebibytes: u64, watts: u32) -> Self {
        Self {
            uuid: format!("GPU-00000000-0000-0000-0000-{n:012x}"),
            name: name.into(),
            minor: n,
            pci_bus_id: format!("00000000:{:02X}:00.0", n.saturating_add(0x3b) & 0xff),
            memory: Some(Memory { total: mebibytes * MIB, used: 0, reserved: 512 * MIB }),
            power_milliwatts: Some(watts * 100),
            power_limit_milliwatts: Some(watts * 1_000),
            energy: Some(Energy::Fixed(0)),
            utilization: Utilization::Percent(0),
            ..Self::default()
        }
    }
}

// === impl Gpm ===

impl Gpm {
    /// Counters that say so many percent.
    #[must_use]
    pub fn new(graphics: f64, sm: f64, tensor: f64, dram: f64) -> Self {
        Self { graphics: Some(graphics), sm: Some(sm), tensor: Some(tensor), dram: Some(dram) }
    }
}

// === impl MigDevice ===

impl MigDevice {
    /// A compute instance that fills a GPU instance. `n` is the end of its UUID.
    #[must_use]
    pub fn new(Profile(name, slices, mebibytes): Profile, gpu_instance: u32, n: u32) -> Self {
        Self {
            uuid: format!("MIG-00000000-0000-0000-0000-{n:012x}"),
            profile: Some(name.into()),
            gpu_instance,
            compute_instance: 0,
            gpu_instance_slices: slices,
            compute_slices: slices,
            mebibytes,
            memory_used: 0,
            gpm: None,
        }
    }

    /// The same device whose counters say so many percent.
    #[must_use]
    pub fn counting(self, graphics: f64, sm: f64, tensor: f64, dram: f64) -> Self {
        Self { gpm: Some(Gpm::new(graphics, sm, tensor, dram)), ..self }
    }
}
