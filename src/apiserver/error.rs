//! What can go wrong between us and the API server, and what people can do about it.

use std::path::PathBuf;
use std::time::Duration;

use crate::errors;

/// What can go wrong between us and the API server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text does not say where to look for a cost label.
    #[error(
        "read {text:?} as a cost label and the key of a pod's label or annotation, such as \
         \"environment=app.example.com/env\"; the cost labels are team, project, model, environment, cost-center, \
         department and task-type"
    )]
    LabelSource {
        /// The text.
        text: String,
    },
    /// We are in no pod, or in one without a service account's token.
    #[error("read the service account of this pod")]
    ServiceAccount {
        /// Why.
        source: Box<kube::config::InClusterError>,
    },
    /// The file does not say where the API server is and who we are.
    #[error("read the kubeconfig {}", .file.display())]
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// Why.
        source: Box<kube::config::KubeconfigError>,
    },
    /// There is no way to talk to the API server with what we were told.
    #[error("prepare to talk to the API server")]
    Client {
        /// Why.
        source: Box<kube::Error>,
    },
    /// The API server refused.
    #[error("{asked} at the API server: {code}: {text}")]
    Refused {
        /// What we asked it.
        asked: &'static str,
        /// The status code of HTTP.
        code: u16,
        /// What came with it.
        text: String,
    },
    /// The API server cannot be reached, or what came is no answer.
    #[error("{asked} at the API server")]
    Call {
        /// What we asked it.
        asked: &'static str,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The API server's answer makes no sense to us.
    #[error("{asked} at the API server: understand the answer")]
    Answer {
        /// What we asked it.
        asked: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The API server did not answer in time.
    #[error("{asked} at the API server within {deadline:?}")]
    Deadline {
        /// What we asked it.
        asked: &'static str,
        /// How long it had.
        deadline: Duration,
    },
    /// The API server answers and has no such node.
    #[error("find the node {node:?} at the API server")]
    UnknownNode {
        /// What we take for the node's name.
        node: String,
    },
}

// === impl Error ===

impl Error {
    /// Tells a refusal from a call that came to nothing.
    pub(super) fn of_call(asked: &'static str, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                Self::Refused { asked, code: status.code, text: status.message.clone() }
            }
            error => Self::Call { asked, source: Box::new(error) },
        }
    }

    /// Whether the version that we had seen cannot be gone on from: it is too old, or newer than all the API server
    /// has.
    pub(super) fn is_wrong_version(&self) -> bool {
        match self {
            Self::Refused { code: 410, .. } => true,
            Self::Refused { code: 504, text, .. } => text.contains("Too large resource version"),
            _ => false,
        }
    }

    /// Whether the API server answers and has nothing of that name.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: 404, .. })
    }

    /// Whether nothing came, so that it is not known since when there was nobody.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::Deadline { .. })
    }

    /// What is wrong and what to do about it, in one line.
    pub(super) fn message(&self) -> String {
        let mut message = format!("failed to {}", errors::chain(self));
        if let Some(advice) = self.advice() {
            message.push_str("; ");
            message.push_str(advice);
        }
        message
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Refused { code: 403, .. } => Some(
                "grant the service account get, list and watch on pods and nodes, list and watch on resourceslices \
                 and get on resourceclaims, as deploy/kustomize/base/rbac.yaml does",
            ),
            Self::Refused { code: 401, .. } => {
                Some("the service account's token is not accepted; is it mounted, and of this cluster?")
            }
            Self::ServiceAccount { .. } => {
                Some("set automountServiceAccountToken: true, or --kubernetes.api=off")
            }
            Self::UnknownNode { .. } => {
                Some("set --node.name, or NODE_NAME from spec.nodeName, to the node's name in Kubernetes")
            }
            Self::Call { .. } | Self::Deadline { .. } => {
                Some("pods keep the labels that they had; does a network policy let us out?")
            }
            _ => None,
        }
    }
}
