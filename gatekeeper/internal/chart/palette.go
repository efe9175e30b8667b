package chart

import "image/color"

// Palette are the colours of a chart. Canary and primary differ for people who see red and green alike, too.
type Palette struct {
	Paper, Ink, Faint, Grid   color.NRGBA
	Canary, Primary           color.NRGBA
	Objective, Fail, Decision color.NRGBA
}

// Light is for white pages and print.
func Light() Palette {
	return Palette{
		Paper: rgb(0xffffff), Ink: rgb(0x1f2328), Faint: rgb(0x59636e), Grid: rgb(0xe6eaef),
		Canary: rgb(0xc2410c), Primary: rgb(0x0b63b6), Objective: rgb(0x1a7f37), Fail: rgb(0xb3122b), Decision: rgb(0x6639ba),
	}
}

// Dark is for dark pages.
func Dark() Palette {
	return Palette{
		Paper: rgb(0x161b22), Ink: rgb(0xe6edf3), Faint: rgb(0x9aa4af), Grid: rgb(0x2b323b),
		Canary: rgb(0xffa657), Primary: rgb(0x6cb6ff), Objective: rgb(0x56d364), Fail: rgb(0xff7b72), Decision: rgb(0xd2a8ff),
	}
}

func rgb(hex uint32) color.NRGBA {
	return color.NRGBA{R: uint8(hex >> 16), G: uint8(hex >> 8), B: uint8(hex), A: 0xff}
}

// thin is a colour of which one sees what is under it; alpha is 0 to 255.
func thin(c color.NRGBA, alpha uint8) color.NRGBA {
	c.A = alpha
	return c
}
