#ifndef THERMOGRAD_KERNELS_EXPORT_H_
#define THERMOGRAD_KERNELS_EXPORT_H_

// Marks what crosses the border of the kernels library. Only raw pointers, sizes and plain structs
// may: the library is built once per instruction set, so a type whose layout or inline code depends
// on the target (Eigen's do) must not be shared with its callers.
#define THERMOGRAD_KERNEL __attribute__((visibility("default")))

#endif  // THERMOGRAD_KERNELS_EXPORT_H_
