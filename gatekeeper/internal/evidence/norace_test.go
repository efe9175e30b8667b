//go:build !race && !mutate

package evidence

const unsimulated = ""
