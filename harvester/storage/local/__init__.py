"""
Local storage: an output folder on a local or mounted disk.

    files/<item_id>/<folder>/<name>            complete and verified files only
    files/<item_id>.v<version>/<folder>/<name> the same, of one version; equal bytes are stored once
    .partial/<item_id>-<file_id>-<md5>.<owner>.part    a partial file; survives a failed run
    .partial/<item_id>-<file_id>-<md5>.<owner>@<begin>.part    one of its segments, from the byte `begin` on

Outside `storage` only the code that opens the storage of a run imports from here.

    store             the `Storage` of one output folder
    directory         symlink-safe access, fsync of files and of the names that lead to them
    partial           the `Upload`: receives and verifies one file
    segments          ranges that arrive out of order (segmented download)
    partial_owner     which process owns a partial file, by its name
    resume            takes over the partial files of earlier runs
    commit            group commit: verifies and renames files together
    dedupe            deduplication by hard link, or by copy
    verify            fixity check: size and md5 of a stored file
    renames           crash-safe renames of stored files
    reservation       reservation of free disk space
"""
