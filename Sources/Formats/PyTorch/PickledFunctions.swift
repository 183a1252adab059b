/// Functions and classes that a pickle builds anew from their code, as cloudpickle and dill do for
/// those of a notebook: without executing them nothing can be made of their parts.
enum PickledFunctions {
  /// Functions that make a function, or a part of one.
  static let functionMakers: Set<String> = [
    "cloudpickle.cloudpickle._make_function", "cloudpickle.cloudpickle._builtin_type",
    "cloudpickle.cloudpickle.subimport", "cloudpickle.cloudpickle.dynamic_subimport",
    "cloudpickle.cloudpickle._make_cell", "cloudpickle.cloudpickle._make_empty_cell",
    "cloudpickle.cloudpickle_fast._make_function", "cloudpickle.cloudpickle._make_skel_func",
    "cloudpickle.cloudpickle._fill_function", "dill._dill._create_function",
    "dill._dill._create_code", "dill._dill._create_cell", "dill._dill._import_module",
    "types.FunctionType", "types.LambdaType", "types.CodeType",
  ]

  /// Functions that make a class, whose name is their second argument.
  static let classMakers: Set<String> = [
    "cloudpickle.cloudpickle._make_skeleton_class", "cloudpickle.cloudpickle._make_skeleton_enum",
    "cloudpickle.cloudpickle_fast._make_skeleton_class", "cloudpickle.cloudpickle._make_typevar",
    "dill._dill._create_type", "types.new_class", "builtins.type",
  ]
}
