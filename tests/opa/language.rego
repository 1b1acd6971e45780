# Rules that expressions of `language.txt` may use.
package oracle

is_seven(x) if x == 7

one_of_eight(x) := 1 if x == 8

same(x) := x

maybe := 1 if input.missing

two contains 2
