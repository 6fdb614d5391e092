//! Stories as data; the tests beside this file play them.
