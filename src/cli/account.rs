//! `acmezone account …`

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Subcommand;
use jiff::Timestamp;

use super::Failure;
use super::output::{self, Output};
use crate::api::{Account, CreatedAccount, NewAccount};
use crate::client::Client;
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
}

impl Command {
    pub(super) async fn run(self, client: &Client, out: &mut Output) -> Result<(), Failure> {
        match self {
            Command::Create { label, allow_from } => {
                let created = client.create_account(&NewAccount { label, allowfrom: allow_from }).await?;
                show_created(&created, out)
            }
            Command::List => {
                let accounts = client.accounts().await?;
                if out.json { Ok(out.pretty_json(&accounts)?) } else { show_all(&accounts, out) }
            }
            Command::Show { id } => {
                let account = client.account(&id).await?;
                if out.json { Ok(out.pretty_json(&account)?) } else { show(&account, out) }
            }
            Command::Delete { id, yes } => delete(client, &id, yes, out).await,
        }
    }
}

async fn delete(client: &Client, id: &str, yes: bool, out: &mut Output) -> Result<(), Failure> {
    let mut id = id.to_owned();
    if !yes {
        if !io::stdin().is_terminal() {
            return Err(Failure::Usage("error: nobody is here to be asked: say --yes".to_owned()));
        }
        let account = client.account(&id).await?;
        if !confirmed(&account)? {
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

fn confirmed(account: &Account) -> io::Result<bool> {
    let mut stderr = io::stderr();
    write!(stderr, "Delete the account {} with {}? [y/N] ", account.username, output::list(&account.fulldomains))?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn show_created(created: &CreatedAccount, out: &mut Output) -> Result<(), Failure> {
    if out.json {
        return Ok(out.pretty_json(created)?);
    }
    let mut facts = vec![
        ("username", created.username.to_string()),
        ("password", created.password.clone()),
        ("fulldomain", created.fulldomain.to_string()),
        ("subdomain", created.subdomain.to_string()),
    ];
    if !created.allowfrom.is_empty() {
        facts.push(("allowfrom", output::list(&created.allowfrom)));
    }
    out.facts(&facts)?;
    out.line("")?;
    out.line("The password is shown only now. Put this record into the zone of each domain of yours:")?;
    out.line(format_args!("  _acme-challenge.<your domain>.  IN  CNAME  {}.", created.fulldomain))?;
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

fn show(account: &Account, out: &mut Output) -> Result<(), Failure> {
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
