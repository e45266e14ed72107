//! `user`: accounts from the command line. It is how the first administrator is made.

use std::io::{BufRead, IsTerminal};
use std::sync::Arc;

use clap::Subcommand;

use crate::commands::{Misused, place, say};
use crate::config::Settings;
use crate::domain::Core;
use crate::domain::accounts::commands::{RegisterError, SetRoleError};
use crate::domain::accounts::{self, AccountDraft, Role};
use crate::domain::page::{self, Window};
use crate::domain::transaction::Mandate;

#[derive(Subcommand)]
pub enum UserCommand {
    /// Open an account
    Create {
        /// The e-mail address to sign in with
        email: String,
        /// CUSTOMER, STAFF or ADMIN
        #[arg(long, default_value = "CUSTOMER", value_parser = role)]
        role: Role,
        /// What to call the user
        #[arg(long)]
        name: Option<String>,
        /// Read the password from the first line of standard input
        #[arg(long, required = true)]
        password_stdin: bool,
    },
    /// Give a user another role
    SetRole {
        /// The account's e-mail address
        email: String,
        /// CUSTOMER, STAFF or ADMIN
        #[arg(value_parser = role)]
        role: Role,
    },
    /// List all users, the newest first
    List,
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(&text.to_uppercase()).ok_or_else(|| "use CUSTOMER, STAFF or ADMIN".to_owned())
}

pub async fn run(settings: &Settings, command: UserCommand) -> anyhow::Result<()> {
    let password = match &command {
        UserCommand::Create { .. } => Some(read_password()?),
        _ => None,
    };
    let (core, place) = place::core_for_command(settings).await?;
    let done = match command {
        UserCommand::Create { email, role, name, .. } => {
            create(&core, AccountDraft { email, password: password.unwrap_or_default().into(), name }, role).await
        }
        UserCommand::SetRole { email, role } => set_role(&core, &email, role).await,
        UserCommand::List => list(&core).await,
    };
    drop(core);
    tokio::task::spawn_blocking(move || drop(place)).await?;
    done
}

fn read_password() -> anyhow::Result<String> {
    let input = std::io::stdin();
    if input.is_terminal() {
        say("Password:");
    }
    let mut line = String::new();
    input.lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

async fn create(core: &Arc<Core>, draft: AccountDraft, role: Role) -> anyhow::Result<()> {
    let email = draft.email.clone();
    match accounts::commands::create_user(core, draft, role).await {
        Ok(user) => {
            say(&format!("{} has an account now, as {}.", user.email, user.role.as_str()));
            Ok(())
        }
        Err(RegisterError::Invalid(errors)) => {
            let told: Vec<String> =
                errors.0.iter().map(|error| format!("the {} {}", error.path.join("."), error.message)).collect();
            Err(Misused(anyhow::anyhow!(told.join("; "))).into())
        }
        Err(RegisterError::EmailTaken) => {
            anyhow::bail!("{email} has an account already; `stockroom user set-role` changes its role")
        }
        Err(RegisterError::TooOften(wait)) => anyhow::bail!("there were too many attempts; try again in {wait:?}"),
        Err(RegisterError::Failed(error)) => Err(error.into()),
    }
}

async fn set_role(core: &Arc<Core>, email: &str, role: Role) -> anyhow::Result<()> {
    let Some(id) = accounts::commands::user_by_email(core, email).await? else {
        anyhow::bail!("no account has the address {email}; `stockroom user list` shows them all");
    };
    match accounts::commands::set_role(core, &Mandate::default(), id, role).await {
        Ok(user) => {
            say(&format!("{} is {} now.", user.email, user.role.as_str()));
            Ok(())
        }
        Err(SetRoleError::NoSuchUser) => anyhow::bail!("the account was removed meanwhile"),
        Err(SetRoleError::LastAdmin) => anyhow::bail!("{email} is the last administrator; make another one first"),
        Err(SetRoleError::Failed(error)) => Err(error.into()),
    }
}

async fn list(core: &Arc<Core>) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let size = u8::try_from(page::MAX_SIZE)?;
        let window = Window { size, backward: false, after, before: None, offset: 0 };
        let users = accounts::queries::users(core, &window).await?;
        for user in &users.items {
            let name = user.name.as_deref().unwrap_or("-");
            say(&format!("{:8}  {}  {}  {name}", user.role.as_str(), user.created_at.format("%F %R"), user.email));
        }
        after = users.items.last().map(|user| user.id).filter(|_| users.has_next);
        if after.is_none() {
            return Ok(());
        }
    }
}
