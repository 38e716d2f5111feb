//! `arouter catalog`: commands for the versions of the catalogue of models. Each of them calls the gateway's HTTP API.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stdin, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use gateway::route::diff::{Changes, Entry};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::admin::Connection;

/// The route of the catalogue.
const PATH: &str = "/api/v1/admin/catalog";

/// A gateway, and the command to run on it.
#[derive(Args)]
pub struct CatalogArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: CatalogCommand,
}

#[derive(Subcommand)]
enum CatalogCommand {
    /// Makes a file the new version of the catalogue, which all gateways serve at once.
    Apply {
        /// TOML or JSON file with `models`, as in the configuration.
        file: PathBuf,
        /// Apply without a question.
        #[arg(long)]
        yes: bool,
        /// Only check the file and print the differences.
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// Remark for the history.
        #[arg(long)]
        comment: Option<String>,
    },
    /// Prints the catalogue as a file that `apply` accepts.
    Show {
        /// Print an earlier version.
        #[arg(long)]
        version: Option<u64>,
        /// Print JSON instead of TOML.
        #[arg(long)]
        json: bool,
        /// Print all models in use at the gateway, with the source of each, instead of the file.
        #[arg(long, conflicts_with_all = ["version", "json"])]
        served: bool,
    },
    /// Lists the newest versions, with what each has changed.
    History,
}

/// A file with a catalogue.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogFile {
    /// The version that the file is made of. If the catalogue has another one by now, the file is refused; default: the newest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    version: Option<u64>,
    #[serde(default)]
    models: Vec<Value>,
}

/// The parts of the gateway's answers that are printed.
#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Shown {
    version: u64,
    models: Vec<Value>,
    served: Vec<Served>,
}

#[derive(Deserialize)]
struct Served {
    id: String,
    provider: String,
    source: String,
    price_version: String,
}

#[derive(Deserialize)]
struct Applied {
    version: u64,
    changes: Changes,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
    applied_at: String,
    comment: Option<String>,
    models: u64,
    changes: Option<Changes>,
}

/// Runs the command and prints its result.
pub async fn run(args: CatalogArgs) -> Result<()> {
    let gateway = args.connection;
    match args.command {
        CatalogCommand::Apply { file, yes, dry_run, comment } => apply(&gateway, &file, comment, (yes, dry_run)).await,
        CatalogCommand::Show { version, json, served } => show(&gateway, version, (json, served)).await,
        CatalogCommand::History => history(&gateway).await,
    }
}

async fn apply(gateway: &Connection, path: &Path, comment: Option<String>, (yes, dry_run): (bool, bool)) -> Result<()> {
    let file = read(path)?;
    let operator = gateway.operator()?;
    let version = match file.version {
        Some(version) => version,
        None => shown(gateway, None).await?.version,
    };
    let call = async |dry_run: bool| -> Result<Applied> {
        let body = json!({"version": version, "models": file.models, "comment": comment, "dry_run": dry_run});
        answer(gateway.call(Method::POST, PATH, &operator, &body).await?)
    };
    let checked = call(true).await?;
    if checked.changes.is_empty() {
        println!("Nothing changes: the catalogue has these models since version {}.", checked.version);
        return Ok(());
    }
    print!("{}", listed(&checked.changes));
    if dry_run {
        return Ok(());
    }
    if !yes && !confirmed()? {
        println!("Nothing was applied.");
        return Ok(());
    }
    let applied = call(false).await?;
    println!("Version {} of the catalogue is in use.", applied.version);
    Ok(())
}

/// Reads a file in TOML or JSON, by its content.
fn read(path: &Path) -> Result<CatalogFile> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let wrong = || format!("{} is not a catalogue", path.display());
    if text.trim_start().starts_with('{') {
        serde_json::from_str(&text).with_context(wrong)
    } else {
        toml::from_str(&text).with_context(wrong)
    }
}

/// Asks the person at the terminal.
fn confirmed() -> Result<bool> {
    if !stdin().is_terminal() {
        bail!("nothing was applied: there is no terminal to ask at; add --yes to apply without a question");
    }
    print!("Apply? Requests from now on are charged by the new prices. [y/N] ");
    stdout().flush()?;
    let mut line = String::new();
    stdin().read_line(&mut line)?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}

async fn show(gateway: &Connection, version: Option<u64>, (json, served): (bool, bool)) -> Result<()> {
    let Shown { version, models, served: all } = shown(gateway, version).await?;
    if served {
        for Served { id, provider, source, price_version } in all {
            println!("{id}  {provider}  {source}  {price_version}");
        }
        return Ok(());
    }
    let file = CatalogFile { version: Some(version), models };
    if json {
        println!("{}", serde_json::to_string_pretty(&file)?);
    } else {
        print!("{}", toml::to_string_pretty(&file)?);
    }
    Ok(())
}

async fn history(gateway: &Connection) -> Result<()> {
    let versions: Vec<Version> = answer(gateway.call(Method::GET, &format!("{PATH}/history"), &gateway.operator()?, &Value::Null).await?)?;
    for Version { version, applied_at, comment, models, changes } in versions {
        let comment = comment.map(|comment| format!("  {comment}")).unwrap_or_default();
        println!("version {version}  {applied_at}  {models} models{comment}");
        if let Some(changes) = changes {
            print!("{}", listed(&changes));
        }
    }
    Ok(())
}

async fn shown(gateway: &Connection, version: Option<u64>) -> Result<Shown> {
    let query = version.map(|version| format!("?version={version}")).unwrap_or_default();
    answer(gateway.call(Method::GET, &format!("{PATH}{query}"), &gateway.operator()?, &Value::Null).await?)
}

fn answer<T: serde::de::DeserializeOwned>(body: Value) -> Result<T> {
    let Answer { data } = serde_json::from_value(body).context("the gateway's answer cannot be read: does it have another version?")?;
    Ok(data)
}

/// Returns the differences as lines: `+` for added entries, `-` for removed ones, `~` for changed ones with their fields.
fn listed(changes: &Changes) -> String {
    let mut text = String::new();
    let mut entry = |sign: char, entry: &Entry| -> std::fmt::Result {
        let at = entry.provider.as_ref().map(|provider| format!(" at {provider}")).unwrap_or_default();
        writeln!(text, "{sign} {}{at}", entry.id)?;
        for (name, field) in &entry.fields {
            match sign {
                '~' => writeln!(text, "    {name}: {} -> {}", plain(&field.old), plain(&field.new))?,
                '+' if is_told(name) => writeln!(text, "    {name}: {}", plain(&field.new))?,
                _ => {}
            }
        }
        Ok(())
    };
    let all = [('+', &changes.added), ('-', &changes.removed), ('~', &changes.changed)];
    let written: std::fmt::Result =
        all.into_iter().flat_map(|(sign, entries)| entries.iter().map(move |one| (sign, one))).try_for_each(|(sign, one)| entry(sign, one));
    debug_assert!(written.is_ok(), "a text takes every line");
    text
}

/// Returns whether the list of added models names the value of a field.
fn is_told(field: &str) -> bool {
    field.contains("usd") || matches!(field, "free" | "split")
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_show_old_and_new_prices() {
        let model = |id: &str, price: &str| json!({"id": id, "provider": "p", "prompt_usd_per_mtok": price, "context_length": 8});
        let changes = Changes::between(&[model("a/m", "1"), model("a/old", "1")], &[model("a/m", "2"), model("a/new", "3")]);
        let expected = "+ a/new at p\n    prompt_usd_per_mtok: 3\n- a/old at p\n~ a/m at p\n    prompt_usd_per_mtok: 1 -> 2\n";
        assert_eq!(listed(&changes), expected);
    }

    #[test]
    fn files_are_toml_or_json_and_a_shown_one_reads_again() {
        let folder = tempfile::tempdir().unwrap();
        let read_text = |text: &str| {
            let path = folder.path().join("file");
            std::fs::write(&path, text).unwrap();
            read(&path)
        };
        let toml = "version = 3\n[[models]]\nid = \"a/m\"\nprovider = \"a\"\nsplit = [{ name = \"x\", weight = 1 }]\n";
        let file = read_text(toml).unwrap();
        assert_eq!((file.version, file.models[0]["split"][0]["weight"].clone()), (Some(3), json!(1)));
        let again = read_text(&toml::to_string_pretty(&file).unwrap()).unwrap();
        assert_eq!(again.models, file.models);
        assert_eq!(read_text(&serde_json::to_string(&file).unwrap()).unwrap().models, file.models);
        assert!(read_text("models = 1").is_err() && read_text("[[modles]]\nid = \"a\"").is_err());
    }
}
