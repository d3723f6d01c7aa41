//! How we come to the API server.

use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::{Access, Error};

/// How long the network may take to connect us.
const CONNECT: Duration = Duration::from_secs(10);

/// Reads where the API server is and who we are. Does not ask it anything yet.
pub(super) async fn connect(access: &Access) -> Result<Client, Error> {
    let mut config = match access {
        Access::ServiceAccount => {
            Config::incluster().map_err(|source| Error::ServiceAccount { source: Box::new(source) })?
        }
        Access::Kubeconfig(file) => {
            let unusable = |source| Error::Kubeconfig { file: file.clone(), source: Box::new(source) };
            let kubeconfig = Kubeconfig::read_from(file).map_err(unusable)?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)?
        }
    };
    config.connect_timeout = Some(CONNECT);
    // We wait between questions ourselves, and say what went wrong while we do.
    config.default_retry = false;
    Client::try_from(config).map_err(|source| Error::Client { source: Box::new(source) })
}
