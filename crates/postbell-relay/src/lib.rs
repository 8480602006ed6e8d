//! From Google's push to the user's machine: ingress, dispatcher, and the HTTP directory and machine.
