//! Boards as NVIDIA makes them. The `n` of a constructor is the board's index, minor number and the end of its UUID.

use crate::description::{Board, Energy, Gpm, Memory, Mig, MigDevice, Processes, Utilization};
use crate::profiles::Profile;

const MIB: u64 = 1 << 20;

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
        Self::counted(n, "NVIDIA H100 80GB HBM3", 81_559, 700)
    }

    /// An H200 with 141 GB: MIG and counters.
    #[must_use]
    pub fn h200_141gb(n: u32) -> Self {
        Self::counted(n, "NVIDIA H200", 143_771, 700)
    }

    /// A B200 with 180 GB: MIG and counters.
    #[must_use]
    pub fn b200_180gb(n: u32) -> Self {
        Self::counted(n, "NVIDIA B200", 183_359, 1_000)
    }

    /// An RTX PRO 6000 with 96 GB: MIG in quarters, and counters.
    #[must_use]
    pub fn rtx_pro_6000(n: u32) -> Self {
        Self::counted(n, "NVIDIA RTX PRO 6000 Blackwell Server Edition", 97_887, 600)
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

    /// The same board on which these processes work: by number, so many percent of the time.
    #[must_use]
    pub fn worked_by(self, processes: impl IntoIterator<Item = (u32, u32)>) -> Self {
        Self { processes: Processes::Working(processes.into_iter().collect()), ..self }
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

    /// The same board with which the driver says this is to be done: 0 nothing, 1 reset, 2 reboot, 3 drain, 4 both.
    #[must_use]
    pub fn advising(self, recovery_action: u32) -> Self {
        Self { recovery_action: Some(recovery_action), ..self }
    }

    /// The same board whose energy counter stands at so many millijoules.
    #[must_use]
    pub fn at_energy(self, millijoules: u64) -> Self {
        Self { energy: Some(Energy::Fixed(millijoules)), ..self }
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

    fn counted(n: u32, name: &str, mebibytes: u64, watts: u32) -> Self {
        let gpm = Some(Gpm::new(0.0, 0.0, 0.0, 0.0));
        Self { mig_capable: true, gpm, ..Self::whole(n, name, mebibytes, watts) }
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
            processes: Processes::Working(Vec::new()),
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
    pub fn new(profile: Profile, gpu_instance: u32, n: u32) -> Self {
        Self {
            uuid: format!("MIG-00000000-0000-0000-0000-{n:012x}"),
            profile: Some(profile.name.into()),
            gpu_instance,
            compute_instance: 0,
            gpu_instance_slices: profile.slices,
            compute_slices: profile.slices,
            multiprocessors: profile.multiprocessors,
            mebibytes: profile.mebibytes,
            memory_used: 0,
            gpm: None,
        }
    }

    /// The same GPU instance with the compute instance `id` in it, which has only so many of its slices.
    #[must_use]
    pub fn compute_instance(self, id: u32, slices: u32) -> Self {
        Self {
            compute_instance: id,
            compute_slices: slices,
            multiprocessors: self.multiprocessors * slices / self.gpu_instance_slices,
            profile: self.profile.map(|profile| format!("{slices}c.{profile}")),
            ..self
        }
    }

    /// The same device whose counters say so many percent.
    #[must_use]
    pub fn counting(self, graphics: f64, sm: f64, tensor: f64, dram: f64) -> Self {
        Self { gpm: Some(Gpm::new(graphics, sm, tensor, dram)), ..self }
    }
}
