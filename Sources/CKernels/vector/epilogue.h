// The operations applied to sums before they are stored.

CK_INLINE vector finished(vector x, ck_epilogue epilogue, vector residual) {
  switch (epilogue) {
    case CK_EPILOGUE_NONE: return x;
    case CK_EPILOGUE_GELU: return gelu_of(x);
    case CK_EPILOGUE_RELU: return x < splat(0) ? splat(0) : x;
    case CK_EPILOGUE_LEAKY_RELU: return x < splat(0) ? x * splat(0.01f) : x;
    case CK_EPILOGUE_ADD: return x + residual;
  }
  return x;
}

// Stores the first `count` sums of a row, after the epilogue.
CK_INLINE void store_sums(
  const float *sums, size_t count, float *y, ck_epilogue epilogue, const float *residual) {
  size_t index = 0;
  vector other = splat(0);
  for (; index + CK_WIDTH <= count; index += CK_WIDTH) {
    if (epilogue == CK_EPILOGUE_ADD) other = load(residual + index);
    store(y + index, finished(load(sums + index), epilogue, other));
  }
  if (index == count) return;
  if (epilogue == CK_EPILOGUE_ADD) other = load_first(residual + index, count - index);
  store_first(y + index, finished(load(sums + index), epilogue, other), count - index);
}
