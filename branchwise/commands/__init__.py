"""The commands of `platform/`, as the installed `branchwise` calls them; links, like the packages next to them."""
