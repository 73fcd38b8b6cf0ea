"""
Local storage: an output folder on a disk of this machine, or one that it has mounted.

    files/<item_id>/<folder>/<name>            whole and proven, never anything else
    files/<item_id>.v<version>/<folder>/<name> the same, of one version; bytes that others have are there once
    .partial/<item_id>-<file_id>-<md5>.<owner>.part    a partial file; survives a failed run
    .partial/<item_id>-<file_id>-<md5>.<owner>@<begin>.part    one of its segments, from the byte `begin` on

Nothing outside `storage` imports from here but what builds the storage of a run.

    store             the `Storage` of one output folder
    directory         symlink-safe access, fsync of files and of the names that lead to them
    partial           the `Upload`: fills and proves one file
    segments          bytes that arrive ahead of those before them (segmented download)
    partial_owner     whose a partial file is, by its name
    resume            takes over the partial files that earlier runs left
    commit            group commit: proves and renames the files that end at the same time together
    dedupe            deduplication by hard link, or by copy
    verify            fixity: size and md5 of what lies in its place
    renames           renames of files that are here, safe against a crash between any two
    reservation       reservation of free disk space
"""
