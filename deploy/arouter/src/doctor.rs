//! `arouter doctor`: finds problems of this installation and says how to repair them.

use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;

use anyhow::Result;

use crate::config::Config;
use crate::first_run::FILE;
use crate::{Settings, data_dir, nats};

/// Prints a line for each check. Returns a failure code if the operator must act.
pub async fn doctor(settings: &Settings) -> Result<ExitCode> {
    let mut is_well = true;
    let mut say = |well: bool, text: String| {
        println!("{}  {text}", if well { "ok  " } else { "todo" });
        is_well &= well;
    };
    let config = match Config::load(settings) {
        Ok(config) => {
            say(true, "the configuration reads".to_owned());
            config
        }
        Err(error) => {
            say(false, format!("{error:#}"));
            Config::default()
        }
    };
    if config.nats.url.is_none() {
        match nats::find(&config.nats).await {
            Ok(path) => say(true, format!("nats-server: {}", path.display())),
            Err(error) => say(false, format!("{error:#}")),
        }
    }
    let secret = settings.data.join(FILE);
    match std::fs::metadata(&secret) {
        Ok(found) if found.permissions().mode() & 0o077 != 0 => {
            say(false, format!("{} can be read by others: chmod 600 it", secret.display()));
        }
        Ok(_) => say(false, format!("{} still holds the first keys: keep them elsewhere, then delete it", secret.display())),
        Err(_) => say(true, "no first keys lie around".to_owned()),
    }
    match data_dir::running(&settings.data) {
        None => say(true, format!("nothing has run on {} yet", settings.data.display())),
        Some(running) => {
            let ready = format!("{}/readyz", running.base_url.trim_end_matches("/v1"));
            match reqwest::Client::builder().no_proxy().build()?.get(&ready).send().await {
                Ok(answer) if answer.status().is_success() => say(true, format!("{ready}: {}", answer.text().await?)),
                Ok(answer) => say(false, format!("{ready}: {}", answer.text().await?)),
                Err(_) => say(false, format!("{ready} does not answer: start it with `arouter up`")),
            }
        }
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
