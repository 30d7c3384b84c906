"""Pi by Machin's formula, e by its series, and a large power: long integers."""
import sys

sys.set_int_max_str_digits(0)
digits = int(sys.argv[1]) * 4
one = 10 ** (digits + 10)


def arctan_of_inverse(x):
    total = term = one // x
    square, n, sign = x * x, 3, -1
    while term:
        term //= square
        total += sign * (term // n)
        sign, n = -sign, n + 2
    return total


print(4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239)) // 10 ** 10)
total = term = one
n = 1
while term:
    term //= n
    total += term
    n += 1
print(total // 10 ** 10)
print(pow(3, 2 ** 40 + 17, 10 ** (digits // 16) + 7))
