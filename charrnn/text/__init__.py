"""From texts to ids, and from ids to streams: vocabulary, corpus, streams."""
