//! What NVIDIA's driver for dynamic resource allocation says by the name of a device.
//!
//! ```text
//!   gpu-3                       the GPU of /dev/nvidia3
//!   gpu-0-mig-1g10gb-19-6       a MIG device of it: profile, id of the profile, first memory slice (since 25.12)
//!   gpu-0-mig-19-6-1            the same: id of the profile, first memory slice, number of slices (up to 25.8)
//! ```
//!
//! A GPU that is handed to a virtual machine, `gpu-vfio-0`, is counted in an order of its own: its name says nothing.

use std::sync::Arc;

use super::DynamicDevice;

/// What the name of a device says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceName {
    /// N of `/dev/nvidiaN` of the GPU.
    pub minor: u32,
    /// Profile of a MIG device: as NVML spells it, `1g.10gb`, where that can be told, else what stands for it in the
    /// name, such as `19` or `1g10gb-me`. `None` for a whole GPU.
    pub profile: Option<Arc<str>>,
}

// === impl DynamicDevice ===

impl DynamicDevice {
    /// Reads the device's name; `None` where it is not of a form that we know.
    #[must_use]
    pub fn read_name(&self) -> Option<DeviceName> {
        let name = self.device.strip_prefix("gpu-")?;
        let Some((gpu, mig)) = name.split_once("-mig-") else {
            return Some(DeviceName { minor: number(name)?, profile: None });
        };
        let (mig, last) = mig.rsplit_once('-')?;
        let (profile, middle) = mig.rsplit_once('-')?;
        number(last).and(number(middle))?;
        let spelled = nvml_spelling(profile).unwrap_or_else(|| profile.to_owned());
        (!profile.is_empty())
            .then_some(DeviceName { minor: number(gpu)?, profile: Some(spelled.as_str().into()) })
    }
}

/// `1g.10gb` from `1g10gb`. What may follow, such as `-me`, cannot be told apart: both `+me` and `-me` are written so.
fn nvml_spelling(profile: &str) -> Option<String> {
    let mut rest = profile;
    let mut parts = Vec::new();
    for unit in ["c", "g", "gb"] {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (amount, after) = rest.split_at(digits);
        // A compute instance that is the whole GPU instance is not named.
        match after.strip_prefix(unit) {
            Some(after) if !amount.is_empty() => {
                parts.push(format!("{amount}{unit}"));
                rest = after;
            }
            _ if unit == "c" => {}
            _ => return None,
        }
    }
    rest.is_empty().then(|| parts.join("."))
}

fn number(text: &str) -> Option<u32> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &str) {
        let device = DynamicDevice { driver: "d".into(), pool: "p".into(), device: name.into() };
        let read = device.read_name().map(|DeviceName { minor, profile }| match profile {
            Some(profile) => format!("{minor} {profile}"),
            None => minor.to_string(),
        });
        assert_eq!(read.as_deref().unwrap_or("?"), expected, "{name}");
    }

    #[test]
    fn a_name_says_which_gpu_it_is_and_which_part_of_it() {
        check("gpu-0", "0");
        check("gpu-15", "15");
        check("gpu-0-mig-1g24gb-19-0", "0 1g.24gb");
        check("gpu-3-mig-1g10gb-19-6", "3 1g.10gb");
        check("gpu-12-mig-7g80gb-0-0", "12 7g.80gb");
        check("gpu-0-mig-1c3g40gb-9-4", "0 1c.3g.40gb");
        // As it is: it was written without what would tell.
        check("gpu-0-mig-1g5gb-me-20-0", "0 1g5gb-me");
        check("gpu-0-mig-1g5-20-0", "0 1g5");
        check("gpu-1-mig-19-6-1", "1 19");
    }

    #[test]
    fn a_name_of_another_form_says_nothing() {
        for name in [
            "",
            "gpu",
            "gpu-",
            "gpu-x",
            "gpu-+1",
            "gpu--1",
            "gpu-4294967296",
            "gpu-vfio-0",
            "gpu-0-mig",
            "gpu-0-mig-",
            "gpu-0-mig-19",
            "gpu-0-mig-19-0",
            "gpu-0-mig--19-0",
            "gpu-0-mig-1g10gb-19-x",
            "gpu-x-mig-1g10gb-19-0",
            "GPU-0",
            "nic-0",
        ] {
            check(name, "?");
        }
    }
}
