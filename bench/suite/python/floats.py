"""Planets around a star, by leapfrog: floating point, tuples and lists."""
import math
import sys

bodies = [[0.0, 0.0, 0.0, 0.0, 1000.0]]
for i in range(1, 5):
    radius = 10.0 * i
    bodies.append([radius, 0.0, 0.0, math.sqrt(1000.0 / radius), 0.1 * i])


def forces():
    pull = [(0.0, 0.0)] * len(bodies)
    for i, (xi, yi, _, _, mi) in enumerate(bodies):
        for j in range(i + 1, len(bodies)):
            xj, yj, _, _, mj = bodies[j]
            dx, dy = xj - xi, yj - yi
            scale = 1.0 / (dx * dx + dy * dy) ** 1.5
            pull[i] = (pull[i][0] + mj * dx * scale, pull[i][1] + mj * dy * scale)
            pull[j] = (pull[j][0] - mi * dx * scale, pull[j][1] - mi * dy * scale)
    return pull


step = 0.001
for _ in range(int(sys.argv[1]) // 2):
    for body, (ax, ay) in zip(bodies, forces()):
        body[2] += ax * step
        body[3] += ay * step
        body[0] += body[2] * step
        body[1] += body[3] * step
print([f"{value:.12e}" for body in bodies for value in body])
