//! Which version of the API of dynamic resource allocation there is, if any.
//!
//! A cluster has the group `resource.k8s.io` in several versions, in none, or in versions that have other kinds only: a
//! new cluster's `v1alpha3` knows of device taints and of no claims. So each version is asked what it has.

use std::fmt;

use kube::Client;
use serde::Deserialize;

use super::Error;
use super::access::get;

/// The group of claims and slices.
pub(super) const GROUP: &str = "resource.k8s.io";

/// What is said of a failure to ask for versions.
const ASKED: &str = "ask for dynamic resource allocation";

/// The kinds that we need, as paths name them.
const NEEDED: [&str; 2] = ["resourceslices", "resourceclaims"];

/// A version of the group that we can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version(&'static str);

/// The versions that the group has.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Versions {
    versions: Vec<Named>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    version: String,
}

/// The kinds that a version has.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Kinds {
    resources: Vec<Kind>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Kind {
    name: String,
}

/// The newest version that we can read; `None` where there is no such API.
pub(super) async fn discover(client: &Client) -> Result<Option<Version>, Error> {
    let Some(Versions { versions }) = found(get(client, ASKED, "/apis", GROUP).await)? else {
        return Ok(None);
    };
    for version in Version::NEWEST_FIRST {
        if versions.iter().any(|served| served.version == version.0) {
            let path = format!("/apis/{GROUP}");
            let kinds: Kinds = found(get(client, ASKED, &path, version.0).await)?.unwrap_or_default();
            if NEEDED.iter().all(|needed| kinds.resources.iter().any(|kind| kind.name == *needed)) {
                return Ok(Some(version));
            }
        }
    }
    Ok(None)
}

fn found<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Err(error) if error.is_not_found() => Ok(None),
        answer => answer.map(Some),
    }
}

// === impl Version ===

impl Version {
    const NEWEST_FIRST: [Self; 4] = [Self("v1"), Self("v1beta2"), Self("v1beta1"), Self("v1alpha3")];
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
