//! What can go wrong between us and the kubelet, and what people can do about it.

use std::error::Error as _;
use std::fmt::Write;
use std::io;
use std::iter;
use std::path::PathBuf;
use std::time::Duration;

use tonic::Code;

/// What can go wrong between us and the kubelet.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is neither a resource name nor the beginning of one.
    #[error(
        "read {text:?} as a resource name such as \"nvidia.com/gpu\", or as a prefix such as \"nvidia.com/mig-*\""
    )]
    ResourceName {
        /// The text.
        text: String,
    },
    /// The operating system will not connect us, or cut the connection.
    #[error("reach the kubelet at {}", .socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kubelet did not answer in time.
    #[error("get an answer from the kubelet at {} to {method} within {deadline:?}", .socket.display())]
    Deadline {
        /// The path of the method.
        method: &'static str,
        /// The socket.
        socket: PathBuf,
        /// How long it had.
        deadline: Duration,
    },
    /// The kubelet refused, or its answer is none.
    #[error("call {method} of the kubelet at {}: {code:?}: {text}", .socket.display())]
    Call {
        /// The path of the method.
        method: &'static str,
        /// The socket.
        socket: PathBuf,
        /// The code of gRPC.
        code: Code,
        /// What came with it.
        text: String,
    },
}

// === impl Error ===

impl Error {
    /// What is wrong and what to do about it, in one line.
    pub(super) fn message(&self) -> String {
        let mut message = format!("failed to {}", self.chain());
        if let Some(advice) = self.advice() {
            message.push_str("; ");
            message.push_str(advice);
        }
        message
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Some(
                    "mount the directory of the host that holds this socket, or name the socket of this node's \
                     kubelet (it lies in pod-resources/ under the kubelet's root directory)",
                ),
                io::ErrorKind::PermissionDenied => Some(
                    "run as uid 0 without a user namespace (no capability is needed); under SELinux run as type \
                     spc_t",
                ),
                io::ErrorKind::ConnectionRefused => Some(
                    "the kubelet is not running, or the socket file is mounted instead of its directory and went \
                     dead when the kubelet restarted",
                ),
                _ => None,
            },
            Self::Deadline { .. } => Some("the kubelet is overloaded or hangs"),
            Self::Call { code: Code::ResourceExhausted, .. } => {
                Some("the kubelet limits the calls of all its clients together; asking less often")
            }
            Self::Call { code: Code::Unimplemented, .. } => {
                Some("pod-resources v1 came with Kubernetes 1.20; is this socket the kubelet's?")
            }
            Self::Call { .. } | Self::ResourceName { .. } => None,
        }
    }

    /// Whether asking again soon makes it worse.
    pub(super) fn asks_for_calm(&self) -> bool {
        matches!(self, Self::Call { code: Code::ResourceExhausted, .. })
    }

    /// Whether the kubelet itself said so, over a connection that stays usable. It says `Unknown` where a method is
    /// turned off.
    pub(super) fn is_answer(&self) -> bool {
        let codes = [Code::ResourceExhausted, Code::Unimplemented, Code::Unknown];
        matches!(self, Self::Call { code, .. } if codes.contains(code))
    }

    /// The error and all its causes.
    pub(super) fn chain(&self) -> String {
        let mut text = self.to_string();
        for cause in iter::successors(self.source(), |&cause| cause.source()) {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {cause}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const METHOD: &str = "/v1.PodResourcesLister/List";
    const SOCKET: &str = "/run/kubelet.sock";

    #[track_caller]
    fn check(error: &Error, expected: &Expect) {
        expected.assert_eq(&format!("{}\n", error.message().replace("; ", ";\n").replace(": ", ":\n")));
    }

    fn unreachable(errno: i32) -> Error {
        Error::Unreachable { socket: SOCKET.into(), source: io::Error::from_raw_os_error(errno) }
    }

    fn call(code: Code, text: &str) -> Error {
        Error::Call { method: METHOD, socket: SOCKET.into(), code, text: text.to_owned() }
    }

    #[test]
    fn who_cannot_connect_is_told_what_to_change() {
        const ENOENT: i32 = 2;
        const EACCES: i32 = 13;
        const ECONNREFUSED: i32 = 111;
        const ECONNRESET: i32 = 104;
        check(
            &unreachable(ENOENT),
            &expect![[r"
            failed to reach the kubelet at /run/kubelet.sock:
            No such file or directory (os error 2);
            mount the directory of the host that holds this socket, or name the socket of this node's kubelet (it lies in pod-resources/ under the kubelet's root directory)
        "]],
        );
        check(
            &unreachable(EACCES),
            &expect![[r"
            failed to reach the kubelet at /run/kubelet.sock:
            Permission denied (os error 13);
            run as uid 0 without a user namespace (no capability is needed);
            under SELinux run as type spc_t
        "]],
        );
        check(
            &unreachable(ECONNREFUSED),
            &expect![[r"
            failed to reach the kubelet at /run/kubelet.sock:
            Connection refused (os error 111);
            the kubelet is not running, or the socket file is mounted instead of its directory and went dead when the kubelet restarted
        "]],
        );
        check(
            &unreachable(ECONNRESET),
            &expect![[r"
            failed to reach the kubelet at /run/kubelet.sock:
            Connection reset by peer (os error 104)
        "]],
        );
    }

    #[test]
    fn who_gets_no_answer_is_told_why() {
        let deadline = Duration::from_secs(2);
        check(
            &Error::Deadline { method: METHOD, socket: SOCKET.into(), deadline },
            &expect![[r"
            failed to get an answer from the kubelet at /run/kubelet.sock to /v1.PodResourcesLister/List within 2s;
            the kubelet is overloaded or hangs
        "]],
        );
        check(
            &call(Code::ResourceExhausted, "rejected by rate limit"),
            &expect![[r"
            failed to call /v1.PodResourcesLister/List of the kubelet at /run/kubelet.sock:
            ResourceExhausted:
            rejected by rate limit;
            the kubelet limits the calls of all its clients together;
            asking less often
        "]],
        );
        check(
            &call(Code::Unimplemented, "unknown service v1.PodResourcesLister"),
            &expect![[r"
            failed to call /v1.PodResourcesLister/List of the kubelet at /run/kubelet.sock:
            Unimplemented:
            unknown service v1.PodResourcesLister;
            pod-resources v1 came with Kubernetes 1.20;
            is this socket the kubelet's?
        "]],
        );
        check(
            &call(Code::Internal, "failed to decode Protobuf message"),
            &expect![[r"
            failed to call /v1.PodResourcesLister/List of the kubelet at /run/kubelet.sock:
            Internal:
            failed to decode Protobuf message
        "]],
        );
    }
}
