import CKernels

/// The operation applied to each element of a product before it is stored.
enum Epilogue {
  case none
  /// The exact GELU, x · Φ(x).
  case gelu
  case relu
  /// A leaky ReLU with slope 0.01 below zero.
  case leakyReLU
  /// Adds the corresponding element of rows that are `stride` elements apart.
  case add(UnsafePointer<Float>, stride: Int)

  /// The kernels' name for the operation, and the memory that it reads.
  var parts: (kind: ck_epilogue, residual: UnsafePointer<Float>?, stride: Int) {
    switch self {
    case .none: (CK_EPILOGUE_NONE, nil, 0)
    case .gelu: (CK_EPILOGUE_GELU, nil, 0)
    case .relu: (CK_EPILOGUE_RELU, nil, 0)
    case .leakyReLU: (CK_EPILOGUE_LEAKY_RELU, nil, 0)
    case .add(let residual, let stride): (CK_EPILOGUE_ADD, residual, stride)
    }
  }
}
