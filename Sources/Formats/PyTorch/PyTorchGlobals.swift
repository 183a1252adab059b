/// The globals that a PyTorch checkpoint may name: the weights-only set of torch 2.15.
///
/// Every name is known to be data or a constructor of data. Naming one is allowed; whether its use
/// can be represented is decided where the objects are read.
enum PyTorchGlobals {
  static let allowed = Set(containers + functions + classes + dtypes + storages + tensors)

  private static let containers = [
    "collections.OrderedDict", "collections.Counter", "_codecs.encode", "builtins.bytearray",
    "builtins.complex", "builtins.set",
  ]

  private static let functions =
    [
      "tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state", "qtensor",
      "sparse_tensor", "nested_tensor", "meta_tensor_no_storage", "wrapper_subclass",
      "device_tensor_from_numpy", "device_tensor_from_cpu_tensor",
    ].map { "torch._utils._rebuild_\($0)" } + [
      "torch._tensor._rebuild_from_type_v2", "torch.serialization._get_layout",
    ]

  private static let classes = [
    "torch.Size", "torch.Tensor", "torch.device", "torch.nn.parameter.Parameter",
    "torch.storage.TypedStorage", "torch.storage.UntypedStorage",
  ]

  /// dtypes and quantization schemes, which are values.
  static let dtypes =
    ElementType.allCases.compactMap { PyTorchTypes.dtype(of: $0) }.map { "torch.\($0)" }
    + (1...7).flatMap { ["torch.int\($0)", "torch.uint\($0)"] }
    + [
      "bcomplex32", "qint8", "qint32", "quint8", "quint4x2", "quint2x4", "per_tensor_affine",
      "per_tensor_symmetric", "per_channel_affine", "per_channel_symmetric",
      "per_channel_affine_float_qparams",
    ].map { "torch.\($0)" }

  private static let kinds = [
    "BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short",
  ]

  private static let storages =
    (kinds + ["ComplexDouble", "ComplexFloat"]).flatMap {
      ["torch.\($0)Storage", "torch.cuda.\($0)Storage"]
    } + ["QInt32", "QInt8", "QUInt2x4", "QUInt4x2", "QUInt8"].map { "torch.\($0)Storage" }

  private static let tensors =
    kinds.flatMap { ["torch.\($0)Tensor", "torch.cuda.\($0)Tensor"] }
    + kinds.filter { $0 != "Bool" }.flatMap {
      ["torch.sparse.\($0)Tensor", "torch.cuda.sparse.\($0)Tensor"]
    }
}
