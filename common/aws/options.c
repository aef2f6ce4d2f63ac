#include "aws/options.h"

const struct option_word dynamodb_time_type_words[] = {{"S", 'S'}, {"N", 'N'}, {NULL, 0}};
