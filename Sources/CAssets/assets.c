#include "CAssets.h"

const cassets_file cassets_files[] = {{0, 0, 0}};
const size_t cassets_file_count = 0;
