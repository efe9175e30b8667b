package node

import "strings"

// expand replaces $(NAME) as Kubernetes does: "$$" is a dollar that begins no reference, and a reference to what is not
// known stays as it is.
func expand(value string, known map[string]string) string {
	var out strings.Builder
	for value != "" {
		at := strings.IndexByte(value, '$')
		if at < 0 || at == len(value)-1 {
			break
		}
		out.WriteString(value[:at])
		value = value[at:]
		switch value[1] {
		case '$':
			out.WriteByte('$')
			value = value[2:]
		case '(':
			value = value[reference(&out, value, known):]
		default:
			out.WriteString(value[:2])
			value = value[2:]
		}
	}
	out.WriteString(value)
	return out.String()
}

// reference writes what the reference at the start of value stands for and returns its length.
func reference(out *strings.Builder, value string, known map[string]string) int {
	end := strings.IndexByte(value, ')')
	if end < 0 {
		out.WriteString(value[:2])
		return 2
	}
	if v, found := known[value[2:end]]; found {
		out.WriteString(v)
	} else {
		out.WriteString(value[:end+1])
	}
	return end + 1
}
