//! `acmezone account …`

use std::io::{self, BufRead, IsTerminal, Write};

use clap::{ArgGroup, Subcommand};
use jiff::Timestamp;

use super::output::{self, Output};
use super::{Failure, export};
use crate::api::{Account, CreatedAccount, NewAccount, NewCredential, NewLabel};
use crate::client::Client;
use crate::config::Config;
use crate::zone::Label;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an account and show its credentials, this once
    ///
    /// The account owns one name, <label>.<zone>. Point the _acme-challenge record of your domain to it by CNAME, and give
    /// the credentials to your ACME client as those of an acme-dns server.
    #[command(after_long_help = "\
Examples:
  acmezone account create
  acmezone account create --label www --allow-from 192.0.2.0/24 --allow-from 2001:db8::/32")]
    Create {
        /// The label instead of a random one: lower-case letters, digits, hyphens
        #[arg(long, value_parser = Label::parse)]
        label: Option<Label>,
        /// Accept updates from this network alone; may be repeated
        #[arg(long, value_name = "CIDR")]
        allow_from: Vec<String>,
    },
    /// List all accounts, oldest first
    #[command(after_long_help = "Example:\n  acmezone account list")]
    List,
    /// Show one account
    #[command(after_long_help = "Example:\n  acmezone account show www.auth.example.org")]
    Show {
        /// User name, label or full domain name
        id: String,
    },
    /// Delete an account, its names and their values
    ///
    /// Its labels are never given to another account, because a forgotten CNAME may still point to them.
    #[command(after_long_help = "Example:\n  acmezone account delete www --yes")]
    Delete {
        /// User name, label or full domain name
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Give an account one more label
    ///
    /// The same credentials put values in for all labels of an account; which one is meant is the `subdomain` of an
    /// update.
    #[command(after_long_help = "\
Examples:
  acmezone account add-label www
  acmezone account add-label www.auth.example.org --label mail")]
    AddLabel {
        /// User name, label or full domain name
        account: String,
        /// The new label instead of a random one: lower-case letters, digits, hyphens
        #[arg(long, value_parser = Label::parse)]
        label: Option<Label>,
    },
    /// Take a label away from its account
    ///
    /// Its values leave the DNS at once, and it is never given to anybody again, because a forgotten CNAME may still
    /// point to it. The last label of an account goes with the account: see `account delete`.
    #[command(after_long_help = "Example:\n  acmezone account remove-label mail --yes")]
    RemoveLabel {
        /// Label or full domain name
        label: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Change from where an account may be used
    #[command(after_long_help = "\
Examples:
  acmezone account allow-from www 192.0.2.0/24 2001:db8::/32
  acmezone account allow-from www --anywhere")]
    #[command(override_usage = "acmezone account allow-from [OPTIONS] <ACCOUNT> <CIDR>...|--anywhere")]
    #[command(group = ArgGroup::new("where").required(true))]
    AllowFrom {
        /// User name, label or full domain name
        account: String,
        /// Accept the account from these networks alone, instead of those that it has now
        #[arg(value_name = "CIDR", group = "where")]
        networks: Vec<String>,
        /// Accept it from everywhere
        #[arg(long, group = "where")]
        anywhere: bool,
    },
    /// Replace all credentials of an account by a new one, and show it, this once
    ///
    /// The old ones stop working at once. The account keeps its user name and its labels, so no CNAME has to change. What
    /// else opens the labels stays: see `tsig list` and `storage list`.
    #[command(after_long_help = "Example:\n  acmezone account rotate www")]
    Rotate {
        /// User name, label or full domain name
        account: String,
    },
    Export(export::Arguments),
}

impl Command {
    pub(super) async fn run(self, client: &Client, config: &Config, out: &mut Output) -> Result<(), Failure> {
        match self {
            Command::Create { label, allow_from } => {
                let created = client.create_account(&NewAccount { label, allowfrom: allow_from }).await?;
                show_created(&created, out)
            }
            Command::List => {
                let accounts = client.accounts().await?;
                if out.json { Ok(out.pretty_json(&accounts)?) } else { show_all(&accounts, out) }
            }
            Command::Show { id } => one(&client.account(&id).await?, out),
            Command::Delete { id, yes } => delete(client, &id, yes, out).await,
            Command::AddLabel { account, label } => add_label(client, &account, label, out).await,
            Command::RemoveLabel { label, yes } => {
                if !yes && !confirmed(&format!("Take the label {label} away for ever?"))? {
                    return Err(Failure::Failed("nothing was taken away".to_owned()));
                }
                one(&client.remove_label(&label).await?, out)
            }
            Command::AllowFrom { account, networks, .. } => one(&client.allow_from(&account, networks).await?, out),
            Command::Rotate { account } => show_rotated(&client.rotate(&account).await?, out),
            Command::Export(arguments) => arguments.run(client, config, out).await,
        }
    }
}

async fn delete(client: &Client, id: &str, yes: bool, out: &mut Output) -> Result<(), Failure> {
    let mut id = id.to_owned();
    if !yes {
        let account = client.account(&id).await?;
        let names = output::list(&account.fulldomains);
        if !confirmed(&format!("Delete the account {} with {names}?", account.username))? {
            return Err(Failure::Failed("nothing was deleted".to_owned()));
        }
        // Exactly the one that was asked about.
        id = account.username.to_string();
    }
    let deleted = client.delete_account(&id).await?;
    if out.json {
        return Ok(out.pretty_json(&deleted)?);
    }
    Ok(out.line(format_args!("deleted {} with {}", deleted.username, output::list(&deleted.fulldomains)))?)
}

pub(super) fn confirmed(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage("error: nobody is here to be asked: say --yes".to_owned()));
    }
    let mut stderr = io::stderr();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn show_created(created: &CreatedAccount, out: &mut Output) -> Result<(), Failure> {
    if out.json {
        return Ok(out.pretty_json(created)?);
    }
    out.facts(&credentials(created))?;
    out.line("")?;
    out.line("The password is shown only now. Put this record into the zone of each domain of yours:")?;
    out.line(format_args!("  _acme-challenge.<your domain>.  IN  CNAME  {}.", created.fulldomain))?;
    Ok(())
}

/// What an ACME client has to know.
fn credentials(created: &CreatedAccount) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("username", created.username.to_string()),
        ("password", created.password.clone()),
        ("fulldomain", created.fulldomain.to_string()),
        ("subdomain", created.subdomain.to_string()),
    ];
    if !created.allowfrom.is_empty() {
        facts.push(("allowfrom", output::list(&created.allowfrom)));
    }
    facts
}

fn show_rotated(rotated: &NewCredential, out: &mut Output) -> Result<(), Failure> {
    if out.json {
        return Ok(out.pretty_json(rotated)?);
    }
    let mut facts = credentials(&rotated.account);
    if let [_, others @ ..] = rotated.fulldomains.as_slice()
        && !others.is_empty()
    {
        facts.push(("other names", output::list(others)));
    }
    out.facts(&facts)?;
    out.line("")?;
    out.line(
        "The password is shown only now. No other credential of the account is valid any more; its names are the",
    )?;
    out.line(
        "same, so no CNAME has to change. TSIG keys and HTTP storages for them stay: see `tsig list`, `storage list`.",
    )?;
    Ok(())
}

async fn add_label(client: &Client, account: &str, label: Option<Label>, out: &mut Output) -> Result<(), Failure> {
    let added = client.add_label(account, &NewLabel { label }).await?;
    if out.json {
        return Ok(out.pretty_json(&added)?);
    }
    out.facts(&[
        ("username", added.username.to_string()),
        ("fulldomain", added.fulldomain.to_string()),
        ("subdomain", added.subdomain.to_string()),
    ])?;
    out.line("")?;
    out.line("The credentials of the account are good for this name too. Put this record into the zone of a domain:")?;
    out.line(format_args!("  _acme-challenge.<your domain>.  IN  CNAME  {}.", added.fulldomain))?;
    Ok(())
}

fn show_all(accounts: &[Account], out: &mut Output) -> Result<(), Failure> {
    let now = Timestamp::now();
    let row = |account: &Account| {
        vec![
            account.username.to_string(),
            output::list(&account.fulldomains),
            output::date(account.created),
            account.updated.map_or_else(|| "never".to_owned(), |at| output::distance(at, now)),
            output::list(&account.allowfrom),
        ]
    };
    let rows: Vec<_> = accounts.iter().map(row).collect();
    out.table(&["USERNAME", "NAMES", "CREATED", "LAST UPDATE", "ALLOWED FROM"], &rows, "There are no accounts.")?;
    Ok(())
}

fn one(account: &Account, out: &mut Output) -> Result<(), Failure> {
    if out.json {
        return Ok(out.pretty_json(account)?);
    }
    let now = Timestamp::now();
    let anywhere = || "anywhere".to_owned();
    out.facts(&[
        ("username", account.username.to_string()),
        ("names", output::list(&account.fulldomains)),
        ("allowed from", if account.allowfrom.is_empty() { anywhere() } else { output::list(&account.allowfrom) }),
        ("created", output::date_and_distance(account.created, now)),
        ("last update", account.updated.map_or_else(|| "never".to_owned(), |at| output::date_and_distance(at, now))),
        ("credentials", account.credentials.to_string()),
    ])?;
    Ok(())
}
