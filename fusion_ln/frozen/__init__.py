"""Models that have left their study: folders that carry what answers and no patient."""
