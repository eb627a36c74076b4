"""How models come to where they are served: `lapis-models fetch` and `lapis-models push`.

    url → source (store, web, registry, folder) → files of a repository → staging → checked → in their places

A source knows what is there (`Offer`: entries, and an identity that changes when they do) and reads it from any byte
on; `patience` makes one unbroken stream of that. What arrives is hashed while it is written, so memory stays constant.
"""
