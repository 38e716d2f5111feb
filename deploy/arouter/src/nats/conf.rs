//! The configuration of nats-server: its accounts, their users, and the calls that each of them may make.

use std::path::Path;

use eventlog::account_feed::PUBLIC;
use events::subject::Stream;

use super::ACCOUNT;
use super::consumers::Consumer;

/// The address and the secrets that the configuration contains.
pub struct Conf<'a> {
    pub port: u16,
    pub folder: &'a Path,
    /// The password of our own processes.
    pub own: &'a str,
    /// The password of the subscriber that reads all accounts.
    pub readers: &'a str,
    /// Subscribers that read one account each.
    pub consumers: &'a [Consumer],
}

/// Calls that subscribers may make; `true` marks calls that may have several responses (`response_type: stream`). `deploy/nats/nats.conf`
/// says why each kind of user has an account of its own.
const READER_CALLS: [(&str, bool); 22] = [
    ("$JS.API.STREAM.NAMES", false),
    ("$JS.API.STREAM.INFO.REQUESTS", false),
    ("$JS.API.STREAM.INFO.USAGE", false),
    ("$JS.API.CONSUMER.CREATE.REQUESTS", false),
    ("$JS.API.CONSUMER.CREATE.REQUESTS.>", false),
    ("$JS.API.CONSUMER.DURABLE.CREATE.REQUESTS.*", false),
    ("$JS.API.CONSUMER.CREATE.USAGE", false),
    ("$JS.API.CONSUMER.CREATE.USAGE.>", false),
    ("$JS.API.CONSUMER.DURABLE.CREATE.USAGE.*", false),
    ("$JS.API.CONSUMER.CREATE.CONTROL.*.arouter.v1.key.>", false),
    ("$JS.API.CONSUMER.INFO.REQUESTS.*", false),
    ("$JS.API.CONSUMER.INFO.USAGE.*", false),
    ("$JS.API.CONSUMER.INFO.CONTROL.*", false),
    ("$JS.API.CONSUMER.MSG.NEXT.REQUESTS.*", true),
    ("$JS.API.CONSUMER.MSG.NEXT.USAGE.*", true),
    ("$JS.API.CONSUMER.MSG.NEXT.CONTROL.*", true),
    ("$JS.ACK.REQUESTS.>", true),
    ("$JS.ACK.USAGE.>", true),
    ("$JS.ACK.CONTROL.>", true),
    ("$JS.FC.REQUESTS.>", true),
    ("$JS.FC.USAGE.>", true),
    ("$JS.FC.CONTROL.>", true),
];

/// Returns the text of `nats.conf`.
pub fn conf(conf: &Conf<'_>) -> String {
    let Conf { port, own, readers, consumers, .. } = conf;
    let folder = conf.folder.display();
    let consumer_exports = consumers.iter().map(exports_of).collect::<Vec<_>>().join("\n      ");
    let consumer_accounts = consumers.iter().map(account_of).collect::<Vec<_>>().join("\n  ");
    let lines = |line: &dyn Fn(&(&str, bool)) -> String| READER_CALLS.iter().map(line).collect::<Vec<_>>().join("\n      ");
    let exports = lines(&|(subject, many)| {
        let kind = if *many { ", response_type: stream" } else { "" };
        format!("{{ service: \"{subject}\"{kind}, accounts: [READERS] }}")
    });
    let publish = lines(&|(subject, _)| format!("\"{subject}\""));
    let deny = consumers.iter().flat_map(taken_by).map(|subject| format!("\"{subject}\"")).collect::<Vec<_>>().join("\n      ");
    let imports = lines(&|(subject, _)| format!("{{ service: {{ account: {ACCOUNT}, subject: \"{subject}\" }} }}"));
    format!(
        r#"# Written at every start.
host: 127.0.0.1
port: {port}
server_name: arouter
pid_file: "{folder}/nats.pid"
log_file: "{folder}/nats.log"
logfile_size_limit: 10MB
max_payload: 1MB
jetstream {{
  store_dir: "{folder}"
  max_file_store: 1TB
}}
accounts {{
  {ACCOUNT} {{
    jetstream: enabled
    users: [{{
      user: arouter, password: "{own}"
      permissions: {{ publish: {{ allow: [">"] }}, subscribe: {{ allow: [">"], deny: ["_INBOX.>"] }} }}
    }}]
    exports: [
      {exports}
      {{ service: "nobody.>", accounts: [READERS] }}
      {{ stream: "_INBOX.>", accounts: [READERS] }}
      {consumer_exports}
    ]
  }}
  READERS {{
    users: [{{
      user: reader, password: "{readers}"
      permissions: {{
        publish: {{ allow: [
      {publish}
        ]
        deny: [
      {deny}
        ] }}
        subscribe: {{ allow: ["_INBOX.>"] }}
      }}
    }}]
    # Of two services that match a call, the closer one answers: the last one keeps the server's own JetStream of this account, of which it
    # has none, out of the way.
    imports: [
      {imports}
      {{ service: {{ account: {ACCOUNT}, subject: "nobody.>" }}, to: "$JS.API.>" }}
      {{ stream: {{ account: {ACCOUNT}, subject: "_INBOX.>" }} }}
    ]
  }}
  {consumer_accounts}
}}
"#
    )
}

/// Returns the calls that read one durable consumer on each public stream; `true` marks calls that may have several responses.
fn calls_of(consumer: &str) -> Vec<(String, bool)> {
    let of_stream = |stream: Stream| {
        let stream = stream.name();
        [
            (format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}"), false),
            (format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"), true),
            (format!("$JS.ACK.{stream}.{consumer}.>"), true),
        ]
    };
    PUBLIC.into_iter().flat_map(of_stream).collect()
}

/// Returns the calls by which the subscriber of all accounts would take events from a subscriber of one, or change its place. A wildcard
/// matches whole parts of a subject only, so each name is denied.
fn taken_by(consumer: &Consumer) -> Vec<String> {
    let name = consumer.user();
    let of_stream = |stream: Stream| {
        let stream = stream.name();
        [
            format!("$JS.API.CONSUMER.CREATE.{stream}.{name}"),
            format!("$JS.API.CONSUMER.CREATE.{stream}.{name}.>"),
            format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{name}"),
            format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"),
            format!("$JS.ACK.{stream}.{name}.>"),
        ]
    };
    PUBLIC.into_iter().flat_map(of_stream).collect()
}

/// Returns what the account of the streams exports to a subscriber of one account.
pub fn exports_of(consumer: &Consumer) -> String {
    let name = consumer.user();
    let export = |(subject, many): (String, bool)| {
        let kind = if many { ", response_type: stream" } else { "" };
        format!("{{ service: \"{subject}\"{kind}, accounts: [\"{name}\"] }}")
    };
    let mut lines: Vec<String> = calls_of(&name).into_iter().map(export).collect();
    lines.push(format!("{{ service: \"nobody.{name}.>\", accounts: [\"{name}\"] }}"));
    lines.join("\n      ")
}

/// Returns the NATS account of a subscriber of one account. It is alone there: nobody else gets what it lets the server send to an inbox.
pub fn account_of(consumer: &Consumer) -> String {
    let name = consumer.user();
    let calls = calls_of(&name);
    let publish = calls.iter().map(|(subject, _)| format!("\"{subject}\"")).collect::<Vec<_>>().join("\n          ");
    let import = |(subject, _): &(String, bool)| format!("{{ service: {{ account: {ACCOUNT}, subject: \"{subject}\" }} }}");
    let imports = calls.iter().map(import).collect::<Vec<_>>().join("\n      ");
    format!(
        r#""{name}" {{
    users: [{{
      user: "{name}", password: '{hash}'
      permissions: {{
        publish: {{ allow: [
          {publish}
        ] }}
        subscribe: {{ allow: ["_INBOX.>"] }}
      }}
    }}]
    imports: [
      {imports}
      {{ service: {{ account: {ACCOUNT}, subject: "nobody.{name}.>" }}, to: "$JS.API.>" }}
    ]
  }}"#,
        hash = consumer.password_hash
    )
}
