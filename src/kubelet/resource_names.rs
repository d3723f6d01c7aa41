//! Which resources are GPUs.
//!
//! A node advertises many resources under `nvidia.com/` that are not (network adapters, compute domains, passed-through
//! boards), and an operator may have renamed those that are. So a resource is a GPU if its name is on a list.

use std::fmt;
use std::str::FromStr;

use super::Error;

/// The resource names that stand for GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceNames(Vec<ResourceName>);

/// One resource name, or what several of them begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceName {
    /// This name, such as `nvidia.com/gpu`.
    Exactly(String),
    /// Every name that begins so; written with a `*` behind it, as in `nvidia.com/mig-*`.
    BeginsWith(String),
}

// === impl ResourceNames ===

impl ResourceNames {
    /// These names and the ones known before.
    #[must_use]
    pub fn and(mut self, more: impl IntoIterator<Item = ResourceName>) -> Self {
        self.0.extend(more);
        self
    }

    /// Whether a resource stands for GPUs.
    #[must_use]
    pub fn contains(&self, resource: &str) -> bool {
        self.0.iter().any(|name| name.matches(resource))
    }
}

impl FromIterator<ResourceName> for ResourceNames {
    fn from_iter<T: IntoIterator<Item = ResourceName>>(names: T) -> Self {
        Self(names.into_iter().collect())
    }
}

/// What NVIDIA's and GKE's plugins advertise unless they are told to rename it.
impl Default for ResourceNames {
    fn default() -> Self {
        Self(vec![
            ResourceName::Exactly("nvidia.com/gpu".to_owned()),
            ResourceName::Exactly("nvidia.com/gpu.shared".to_owned()),
            ResourceName::BeginsWith("nvidia.com/mig-".to_owned()),
            ResourceName::Exactly("volcano.sh/vgpu-number".to_owned()),
            ResourceName::Exactly("aliyun.com/gpu-mem".to_owned()),
        ])
    }
}

// === impl ResourceName ===

impl ResourceName {
    fn matches(&self, resource: &str) -> bool {
        match self {
            Self::Exactly(name) => resource == name,
            Self::BeginsWith(prefix) => resource.starts_with(prefix.as_str()),
        }
    }
}

impl FromStr for ResourceName {
    type Err = Error;

    /// Reads a name; a `*` at its end makes it the beginning of names.
    ///
    /// The domain must be there in full: a plain `*` would make every device of the node a GPU.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, is_prefix) = text.strip_suffix('*').map_or((text, false), |prefix| (prefix, true));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"./-_".contains(&byte);
        match name.split_once('/') {
            Some((domain, rest))
                if !domain.is_empty()
                    && (is_prefix || !rest.is_empty())
                    && !rest.contains('/')
                    && name.bytes().all(is_name) =>
            {
                let name = name.to_owned();
                Ok(if is_prefix { Self::BeginsWith(name) } else { Self::Exactly(name) })
            }
            _ => Err(Error::ResourceName { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => f.write_str(name),
            Self::BeginsWith(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_told_from_what_only_looks_like_them() {
        let names = ResourceNames::default();
        let table = [
            ("nvidia.com/gpu", true),
            ("nvidia.com/gpu.shared", true),
            ("nvidia.com/mig-1g.10gb", true),
            ("nvidia.com/mig-1g.5gb.shared", true),
            ("nvidia.com/mig-1g.24gb-me", true),
            ("nvidia.com/gpumem", false),
            ("nvidia.com/gpu-vfio", false),
            ("nvidia.com/GA102GL_A10", false),
            ("nvidia.com/hostdev", false),
            ("nvidia.com/", false),
            ("compute-domain.nvidia.com", false),
            ("example.com/nvidia.com/gpu", false),
            ("cpu", false),
            ("", false),
        ];
        for (resource, expected) in table {
            assert_eq!(names.contains(resource), expected, "{resource}");
        }
    }

    #[test]
    fn names_can_be_added() {
        let more = ["example.com/big-gpu", "acme.io/gpu-*"].map(|name| name.parse().unwrap());
        let names = ResourceNames::default().and(more);
        assert!(names.contains("nvidia.com/gpu"));
        assert!(names.contains("example.com/big-gpu") && !names.contains("example.com/big-gpu2"));
        assert!(names.contains("acme.io/gpu-a100") && !names.contains("acme.io/gpu"));
    }

    #[test]
    fn a_name_is_written_as_it_was_read() {
        for text in ["nvidia.com/gpu", "nvidia.com/mig-*", "nvidia.com/*"] {
            assert_eq!(text.parse::<ResourceName>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "*",
            "gpu",
            "gpu*",
            "/gpu",
            "nvidia.com/",
            "nvidia.com/m*g",
            "a/b/c",
            "nvidia.com/gpu ",
            "a/b**",
        ] {
            let error = text.parse::<ResourceName>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("nvidia.com/mig-*"), "{error}");
        }
    }
}
