//! Who may ask, and over what: read at the start, and again whenever a file of it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::Parts;
use super::files::{self, told};
use crate::clock;
use crate::sampler;
use crate::status::{Published, Source, SourceStatus, Status};
use crate::web_config::{self, Files, Problem, Reading, WebConfig};

/// What was given to the program is wrong, every mistake has been told, and trying again will not help.
#[derive(Debug, thiserror::Error)]
#[error("the web configuration is wrong: nobody is served by it")]
pub struct WrongInput;

/// Who may ask, and over what.
pub(super) struct Web {
    /// What holds now.
    pub(super) config: watch::Receiver<Arc<WebConfig>>,
    /// How reading the file went last; `None` if there is none.
    pub(super) followed: Option<watch::Receiver<SourceStatus>>,
}

/// Looks at the files, and says what is new.
struct Follower {
    path: PathBuf,
    /// The files as they were when they were read, and at the last look.
    read: Files,
    seen: Files,
    config: watch::Sender<Arc<WebConfig>>,
    status: watch::Sender<SourceStatus>,
}

/// Reads the file, and starts to follow it.
pub(super) fn read(file: Option<PathBuf>, parts: &mut Parts) -> Result<Web, WrongInput> {
    let Some(path) = file else {
        let (_, config) = watch::channel(Arc::default());
        return Ok(Web { config, followed: None });
    };
    let Reading { result, files } = web_config::read(&path);
    let (config, warnings) = result.map_err(|problems| {
        for problem in problems {
            error!("{}", problem.in_file(&path.display().to_string()));
        }
        WrongInput
    })?;
    tell(&path, &config, &warnings);
    let (config, latest) = watch::channel(Arc::new(config));
    let (status, followed) = watch::channel(status(&[], None));
    let mut reader = Follower { path, seen: files.clone(), read: files, config, status };
    parts.spawn(async move {
        files::follow(move |_| reader.look(), None).await;
        "the follower of the web configuration"
    });
    Ok(Web { config: latest, followed: Some(followed) })
}

/// Says how the web configuration is doing whenever it was read anew: after a replay there are no ticks that would.
pub(super) async fn tell_of_changes(files: sampler::Files, publish: watch::Sender<Published>) {
    let Some(mut web) = files.web.clone() else { return std::future::pending().await };
    while web.changed().await.is_ok() {
        publish.send_modify(|published| {
            let sources = files.sources();
            published.status = Arc::new(Status { sources, ..Status::clone(&published.status) });
        });
    }
}

fn tell(path: &Path, config: &WebConfig, warnings: &[Problem]) {
    let file = path.display().to_string();
    for warning in warnings {
        warn!("{}", warning.as_warning_in_file(&file));
    }
    info!(file, tls = config.tls.is_some(), users = config.users.len(), "the web configuration is read");
    if config.tls.is_none() && !config.users.is_empty() {
        warn!(file, "passwords can be overheard: there is no tls_server_config");
    }
}

/// How reading the file went, and how it had gone before.
fn status(problems: &[String], before: Option<&SourceStatus>) -> SourceStatus {
    let up = problems.is_empty();
    let errors = u64::try_from(problems.len()).unwrap_or(u64::MAX);
    SourceStatus {
        source: Source::WebConfig,
        up,
        last_success: if up { Some(clock::wall()) } else { before.and_then(|before| before.last_success) },
        errors: before.map_or(0, |before| before.errors).saturating_add(errors),
        duration: None,
        message: problems.first().map(|problem| told(problem, problems.len() - 1).into()),
    }
}

// === impl Follower ===

impl Follower {
    /// Reads the files anew when they have not changed for as long as from one look to the next: who writes a file may not
    /// be done with it, or with the key beside the certificate.
    fn look(&mut self) {
        let now = self.read.now();
        let has_rested = now == std::mem::replace(&mut self.seen, now.clone());
        if now != self.read && has_rested {
            let Reading { result, files } = web_config::read(&self.path);
            self.seen = files.clone();
            self.read = files;
            self.take(result);
        }
    }

    fn take(&self, result: Result<(WebConfig, Vec<Problem>), Vec<Problem>>) {
        let file = self.path.display().to_string();
        let config = result.and_then(|(config, warnings)| {
            let problems = self.unprotected(&config);
            if problems.is_empty() { Ok((config, warnings)) } else { Err(problems) }
        });
        let problems = match config {
            Ok((config, warnings)) => {
                tell(&self.path, &config, &warnings);
                self.config.send_replace(Arc::new(config));
                Vec::new()
            }
            Err(problems) => problems.iter().map(|problem| problem.in_file(&file)).collect(),
        };
        for problem in &problems {
            warn!("{problem}");
        }
        if !problems.is_empty() {
            warn!(file, "what was read before stays in force: correct the file");
        }
        self.status.send_modify(|before| *before = status(&problems, Some(before)));
    }

    /// What would be open that was not. An empty file is what a reader sees while it is written anew, and what somebody
    /// leaves who is not done; whoever means it can restart.
    fn unprotected(&self, config: &WebConfig) -> Vec<Problem> {
        let before = self.config.borrow();
        let lost = [
            ("tls_server_config", before.tls.is_some() && config.tls.is_none()),
            ("basic_auth_users", !before.users.is_empty() && config.users.is_empty()),
        ];
        let lost = lost.into_iter().filter(|(_, is_lost)| *is_lost);
        lost.map(|(key, _)| {
            let message = "expected it as before, found none; restart to serve without it";
            Problem { line: None, column: None, key: key.to_owned(), message: message.to_owned() }
        })
        .collect()
    }
}
