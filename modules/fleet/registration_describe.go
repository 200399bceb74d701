package fleet

// describe takes over what the node says of what it holds. What it does not
// mention stays as it is, an empty list clears one: clients of the old fleet
// cannot mention most of it, and would empty what an operator or an import wrote.
// An empty text counts as not mentioned.
func (r *Registration) describe(record *nodeRecord) {
	if r.Description != "" {
		record.Description = r.Description
	}
	if r.Version != "" {
		record.Version = r.Version
	}
	for _, list := range []struct{ stands, said *[]string }{
		{&record.Domains, &r.Domains}, {&record.Keywords, &r.Keywords}, {&record.DataTypes, &r.DataTypes},
	} {
		if *list.said != nil {
			*list.stands = *list.said
		}
	}
	if r.Collections != nil {
		record.Collections = r.Collections
	}
	if r.Metadata != nil {
		record.Metadata = r.Metadata
	}
}
