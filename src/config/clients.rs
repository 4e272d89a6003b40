//! `client_ca` and `client` of a certificate: what clients have to show.

use super::decode::Reader;
use crate::certificate::{self, ClientAuth, Clients};
use crate::diagnose::Diagnostic;

/// Reads both keys. `None`: nobody is asked, or there is an error, which is noted.
pub(super) fn read(table: &mut Reader<'_>) -> Option<Clients> {
    let file = table.text("client_ca");
    let is_given = table.has("client_ca");
    let auth = table.value("client");
    let notes = table.notes;
    if let (false, Some(auth)) = (is_given, &auth) {
        let message = format!("{} without `client_ca`", auth.name());
        let found = Diagnostic::error("E409", message).at(auth.key_place);
        let help = "client_ca names the file of the authorities that vouch for clients";
        notes.add(found.help(help.to_owned()));
        return None;
    }
    let file = file?;
    let auth = auth.map_or(Some(ClientAuth::Require), |auth| auth.choice(&ClientAuth::WORDS));
    let auth = auth?;
    let path = notes.beside(file.place.source, file.value);
    let authorities = notes.read_aside(&path).map_err(|error| error.to_string()).and_then(|pem| {
        certificate::read_authorities(pem.as_bytes()).map_err(|why| why.to_string())
    });
    match authorities {
        Ok(authorities) => Some(Clients::new(authorities, auth)),
        Err(why) => {
            let message = format!("{} cannot be used: {why}", path.display());
            notes.add(Diagnostic::error("E405", message).at(file.place));
            None
        }
    }
}
